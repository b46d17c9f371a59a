package router

import (
	"net/http"
)

// redirectHandler answers on the plain HTTP port: ACME challenges first, then a
// redirect to HTTPS for every host of the table. 308 keeps method and body.
type redirectHandler struct{ r *Router }

func (h redirectHandler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h.r.counters.requests.Add(1)
	if _, ok := req.Header["Upgrade"]; ok {
		w.Header().Set("Connection", "close") // the guard stopped reading along
	}
	host, _, ok := requestHost(req)
	switch rt := h.r.table.Load().routes[host]; {
	case !ok:
		failBadRequest.write(w, req, newRequestID())
	case rt == nil:
		// Not redirected: over TLS it would be the same, and worse for a name of strangers.
		h.r.counters.noHost.Add(1)
		failNoHost.write(w, req, newRequestID())
	case h.r.certs.solveHTTP(w, req, rt):
	default:
		authority := host
		if h.r.publicPort != "443" {
			authority += ":" + h.r.publicPort
		}
		w.Header().Set("Location", "https://"+authority+req.URL.RequestURI())
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusPermanentRedirect)
	}
}
