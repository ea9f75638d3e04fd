package cli

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// vector is a schematic with its ID.
const (
	vector   = "../../pkg/schematic/testdata/vectors/extensions.yaml"
	vectorID = "6ba13d510dcc57f233b9b498d34a3c919c1abdd5675b46ad53cf4f2e66362f82"
)

// TestSchematic imports a schematic, and prints the profile's again.
func TestSchematic(t *testing.T) {
	t.Parallel()
	o, stdout, stderr := at(t, nil)
	if err := Import(t.Context(), ImportOptions{Options: o, Talos: "v1.12.4", Platform: "aws"}, vector); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`version = "v1.12.4"`, `platform    = "aws"`, `"siderolabs/intel-ucode"`} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("lacks %s:\n%s", want, stdout)
		}
	}
	if err := os.WriteFile(o.Profile, stdout.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	canonical, err := os.ReadFile(vector)
	if err != nil {
		t.Fatal(err)
	}
	stdout.Reset()
	if err := Schematic(o, false); err != nil || stdout.String() != "# image aws, schematic "+vectorID+"\n"+string(canonical) {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
	stdout.Reset()
	if err := Schematic(o, true); err != nil || stdout.String() != vectorID+"\n" {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
}

func TestSchematics(t *testing.T) {
	t.Parallel()
	const empty = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
	two := "talos {\n  version = \"v1.13.9\"\n}\nimage \"a\" {\n  output \"iso\" {}\n}\nimage \"b\" {\n  output \"disk\" {}\n}\n"
	o, stdout, _ := at(t, map[string]string{"extensions.hcl": two})
	if err := Schematic(o, true); err != nil || stdout.String() != empty+"  a\n"+empty+"  b\n" {
		t.Errorf("%v\n%s", err, stdout)
	}
	stdout.Reset()
	if err := Schematic(o, false); err != nil || strings.Count(stdout.String(), "customization: {}\n") != 2 || strings.Count(stdout.String(), "---\n") != 1 {
		t.Errorf("%v\n%s", err, stdout)
	}
	stdout.Reset()
	o.Image = "b"
	if err := Schematic(o, true); err != nil || stdout.String() != empty+"\n" {
		t.Errorf("%v\n%s", err, stdout)
	}
	o, stdout, stderr := at(t, map[string]string{"extensions.hcl": small, "motd/manifest.yaml": motd})
	err := Schematic(o, true)
	if !errors.Is(err, ErrShown) || stdout.Len() > 0 || strings.Count(stderr.String(), "Error: Not a schematic") != 2 ||
		!strings.Contains(stderr.String(), "line 21") || !strings.Contains(stderr.String(), "#not-a-schematic") {
		t.Errorf("%v, printed %q\n%s", err, stdout, stderr)
	}
	o.Image = "mettal"
	if err := Schematic(o, true); !errors.Is(err, ErrShown) || !strings.Contains(stderr.String(), `Did you mean "metal"?`) {
		t.Errorf("%v\n%s", err, stderr)
	}
}

// TestImportID asks a Factory that answers in several ways.
func TestImportID(t *testing.T) {
	t.Parallel()
	canonical, err := os.ReadFile(vector)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{} // of answers
	for i, answer := range []string{"customization: {}\n", "customisation: {}\n", strings.Repeat("#", maxImport+1), ""} {
		ids[fmt.Sprintf("%064d", i)] = answer
	}
	ids[vectorID] = string(canonical)
	ids[strings.Repeat("a", 64)] = "redirect"
	asked := 0
	factory := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		answer, ok := ids[strings.TrimPrefix(r.URL.Path, "/of/ours/schematics/")]
		switch {
		case !ok:
			http.Error(w, "schematic not found", http.StatusNotFound)
		case answer == "":
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case answer == "redirect":
			http.Redirect(w, r, "/of/ours/schematics/"+vectorID, http.StatusFound)
		default:
			w.Header().Set("Content-Type", "application/yaml")
			fmt.Fprint(w, answer)
		}
	}))
	t.Cleanup(factory.Close)
	o, stdout, stderr := at(t, nil)
	env := func(base string) func(string) (string, bool) {
		return func(name string) (string, bool) { return base, name == "TALOSMITH_FACTORY" }
	}
	o.Env = env(factory.URL + "/of/ours/")
	if err := Import(t.Context(), ImportOptions{Options: o}, vectorID); err != nil || !strings.Contains(stdout.String(), "embed_schematic = true") || asked != 1 {
		t.Errorf("%v, asked %d times\n%s", err, asked, stdout)
	}
	stdout.Reset()
	for id, want := range map[string]string{
		fmt.Sprintf("%064d", 0): "answers with the schematic 376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba: it is another one",
		fmt.Sprintf("%064d", 1): `unknown key "customisation"`,
		fmt.Sprintf("%064d", 2): "the answer has more than 4194304 bytes",
		fmt.Sprintf("%064d", 3): "answers 401 Unauthorized",
		fmt.Sprintf("%064d", 4): "not found",
		strings.Repeat("a", 64): "answers with the schematic " + vectorID,
		vectorID[1:]:            "neither a file nor a schematic's ID, which has 64 digits from 0 to f",
		"no.yaml":               "no such file",
		filepath.Dir(o.Profile): "not a regular file",
	} {
		err := Import(t.Context(), ImportOptions{Options: o}, id)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "import "+id+": ") {
			t.Errorf("%s: %v, want %q", id, err, want)
		}
	}
	for base, want := range map[string]string{
		"factory.talos.dev":  "not the URL of an Image Factory, such as https://factory.talos.dev",
		"https://a:secret@x": "not the URL",
		"file:///etc":        "not the URL",
		"http://127.0.0.1:1": "connection refused",
	} {
		o.Env = env(base)
		err := Import(t.Context(), ImportOptions{Options: o}, vectorID)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "TALOSMITH_FACTORY") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", base, err, want)
		}
	}
	if stdout.Len()+stderr.Len() > 0 {
		t.Errorf("printed %s%s", stdout, stderr)
	}
}

// TestImportOptions: what is asked for must be there.
func TestImportOptions(t *testing.T) {
	t.Parallel()
	o, _, _ := at(t, nil)
	for want, m := range map[string]ImportOptions{
		"1.99.0":                    {Options: o, Talos: "1.99.0"},
		`unknown platform "mettal"`: {Options: o, Platform: "mettal"},
	} {
		if err := Import(t.Context(), m, vector); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
