// Package secrets opens sealed values, and seals them: with age, whose identities
// lie in a file, or by the transit engine of Vault. What Vault has opened is
// remembered, so that it is asked for nothing twice and a reload does not depend on it.
package secrets
