package api

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"
)

// maxPublicBody bounds what strangers may send.
const maxPublicBody = 64 << 10

// open prepares a request that needs no token. Only those that post something
// have a body, and a secret of their own in it.
func (e *entry) open(c echo.Context) error {
	r := c.Request()
	limit := int64(0)
	if e.Method != http.MethodGet {
		if err := e.accept(r); err != nil {
			return err
		}
		limit = maxPublicBody
	}
	r.Body = http.MaxBytesReader(c.Response(), r.Body, limit)
	c.SetRequest(r.WithContext(withSource(r.Context(), sourceOf(r))))
	return nil
}

type sourceKey struct{}

func withSource(ctx context.Context, source string) context.Context {
	return context.WithValue(ctx, sourceKey{}, source)
}

func sourceFrom(ctx context.Context) string {
	source, _ := ctx.Value(sourceKey{}).(string)
	return source
}
