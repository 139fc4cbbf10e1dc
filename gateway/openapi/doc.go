// Package openapi holds requests and answers to an OpenAPI document, and makes
// answers out of one. Reading documents is the business of package transcode.
//
//	contract, err := openapi.Compile(doc, openapi.Options{})
//	op, vars, allow := contract.Find("GET", "/v1/orders/7")
//	violations := op.Parameters(r, vars)
//
// Schemas are compiled once, into trees of their own: a check needs no reflection,
// its expressions run in linear time, and a budget of steps bounds what alternatives
// within alternatives can cost.
package openapi
