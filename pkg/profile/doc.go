// Package profile reads the profile of a project, extensions.hcl: which Talos, which images, with which extensions, kernel arguments
// and outputs. [Load] turns HCL (or its JSON form, or a directory of files) into a plain, resolved [Profile]: variables, locals,
// functions, matrices and inheritance are gone, and what later stages may complain about knows where it was written.
//
// Blocks and attributes stand in one table (table.go). The decoder, its "did you mean", the reference page ([Reference]) and the JSON
// Schema ([Schema]) are made from it.
//
// Every mistake is an hcl.Diagnostic with a range and a remedy; a run reports all of them. The language is that of
// https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md. A profile is not trusted: its size, its nesting and the work that
// evaluating it takes are bounded.
//
// # Not supported
//
// Functions that depend on time or chance, dynamic blocks, functions defined by the user, modules.
package profile
