package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/secrets"
)

func secretCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Make identities, and seal values for configuration files",
	}
	cmd.AddCommand(keygenCommand(), sealCommand())
	return cmd
}

func keygenCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make an identity of age, and print the recipient that goes with it",
		Long: `Keygen writes a new identity into the file of --out, which must not be there yet and
which only its owner can read, and prints its recipient. The file belongs on the
gateway, as secrets.age.identity_file; with the recipient everybody can seal.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			identity, recipient, err := secrets.NewIdentity()
			if err != nil {
				return err
			}
			file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(file, "# public key: %s\n%s\n", recipient, identity.Reveal())
			if err = errors.Join(err, file.Close()); err != nil {
				return err
			}
			cmd.Println(recipient)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file for the identity")
	_ = cmd.MarkFlagRequired("out") // it is there
	return cmd
}

func sealCommand() *cobra.Command {
	var recipients []string
	var file, vault string
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Seal what comes on standard input, for a setting of a configuration file",
		Long: `Seal reads a value from standard input, without the line feed at its end, and prints
what stands for it in a configuration file: ${sealed:...}. It is sealed with age for
all recipients that are given, or by the Vault that a configuration file names.

  openssl rand -hex 32 | pithead secret seal --recipient age1...
  openssl rand -hex 32 | pithead secret seal --vault pithead.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file != "" {
				text, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				recipients = append(recipients, string(text))
			}
			if (len(recipients) == 0) == (vault == "") {
				return errors.New("give either recipients or --vault")
			}
			value, err := sealedInput(cmd.InOrStdin())
			if err != nil {
				return err
			}
			sealed := ""
			if vault != "" {
				sealed, err = sealByVault(cmd, vault, value)
			} else {
				sealed, err = secrets.SealAge(value, strings.Join(recipients, "\n"))
			}
			if err != nil {
				return err
			}
			cmd.Printf("${sealed:%s}\n", sealed)
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&recipients, "recipient", nil, "who can open it, as age1...; may be given several times")
	cmd.Flags().StringVar(&file, "recipients-file", "", "file with recipients, each in a line")
	cmd.Flags().StringVar(&vault, "vault", "", "configuration file whose secrets.vault is to seal it")
	return cmd
}

// maxSealed bounds the value; a setting is never larger.
const maxSealed = 1 << 20

func sealedInput(in io.Reader) ([]byte, error) {
	value, err := io.ReadAll(io.LimitReader(in, maxSealed+1))
	if err != nil {
		return nil, fmt.Errorf("read the value: %w", err)
	}
	value = bytes.TrimSuffix(bytes.TrimSuffix(value, []byte("\n")), []byte("\r"))
	switch {
	case len(value) == 0:
		return nil, errors.New("there is nothing on standard input to seal")
	case len(value) > maxSealed:
		return nil, fmt.Errorf("the value is larger than %d MiB", maxSealed>>20)
	}
	return value, nil
}

func sealByVault(cmd *cobra.Command, path string, value []byte) (string, error) {
	files, err := config.Read(path)
	if err != nil {
		return "", err
	}
	settings, err := config.SecretsOf(files)
	if err != nil {
		return "", err
	}
	return secrets.SealVault(cmd.Context(), settings.Vault, value)
}
