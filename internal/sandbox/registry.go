package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// registry serves a release's files as a container registry that is only read from.
type registry struct {
	dir       string
	manifests map[string]v1.Descriptor // by "repository:tag" and "repository@digest"
	tags      map[string][]string
}

func newRegistry(dir string) (*registry, error) {
	name := filepath.Join(dir, indexName)
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var all []published
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	r := &registry{dir: dir, manifests: map[string]v1.Descriptor{}, tags: map[string][]string{}}
	for _, p := range all {
		r.tags[p.Repository] = append(r.tags[p.Repository], p.Tag)
		r.manifests[p.Repository+":"+p.Tag] = p.Manifests[0]
		for _, m := range p.Manifests {
			r.manifests[p.Repository+"@"+m.Digest.String()] = m
		}
	}
	return r, nil
}

// ServeHTTP answers GET and HEAD of /v2/, /v2/<name>/tags/list, /v2/<name>/manifests/<tag or digest>, /v2/<name>/blobs/<digest>.
func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if q.Method != http.MethodGet && q.Method != http.MethodHead {
		fail(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "the stand-in's registry is only read from")
		return
	}
	path, ok := strings.CutPrefix(q.URL.Path, "/v2/")
	if path == "" && ok {
		return
	}
	parts := strings.Split(path, "/")
	if !ok || len(parts) < 3 {
		fail(w, http.StatusNotFound, "NAME_UNKNOWN", q.URL.Path)
		return
	}
	name, kind, last := strings.Join(parts[:len(parts)-2], "/"), parts[len(parts)-2], parts[len(parts)-1]
	if _, known := r.tags[name]; !known {
		fail(w, http.StatusNotFound, "NAME_UNKNOWN", name)
		return
	}
	switch kind {
	case "tags":
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"name": name, "tags": r.tags[name]})
	case "manifests":
		m, ok := r.manifests[name+":"+last]
		if !ok {
			m, ok = r.manifests[name+"@"+last]
		}
		if !ok {
			fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN", name+":"+last)
			return
		}
		w.Header().Set("Content-Type", string(m.MediaType))
		r.serveBlob(w, q, m.Digest)
	case "blobs":
		h, err := v1.NewHash(last)
		if err != nil {
			fail(w, http.StatusBadRequest, "DIGEST_INVALID", last)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		r.serveBlob(w, q, h)
	default:
		fail(w, http.StatusNotFound, "UNSUPPORTED", q.URL.Path)
	}
}

func (r *registry) serveBlob(w http.ResponseWriter, q *http.Request, h v1.Hash) {
	f, err := os.Open(blobPath(r.dir, h))
	if err != nil {
		w.Header().Del("Content-Type")
		fail(w, http.StatusNotFound, "BLOB_UNKNOWN", h.String())
		return
	}
	defer f.Close()
	w.Header().Set("Docker-Content-Digest", h.String())
	w.Header().Set("Etag", `"`+h.String()+`"`)
	http.ServeContent(w, q, "", time.Time{}, f)
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}
