package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"paas/cluster"
)

// maxSecretBytes is a config value at its limit with the sealing's overhead.
const maxSecretBytes = cluster.MaxConfigValueBytes + 64

func (c ChangeConfig) apply(d *cluster.Draft) (Outcome, error) {
	app, err := liveApp(d, c.App)
	if err != nil {
		return Outcome{}, err
	}
	if err := c.check(&app); err != nil {
		return Outcome{}, err
	}
	if err := noActiveDeployment(d, c.App); err != nil {
		return Outcome{}, err
	}
	config := cluster.CloneConfig(app.Config)
	maps.Copy(config, c.Set)
	for _, key := range c.Unset {
		delete(config, key)
	}
	app.Config = config
	d.PutApp(app)
	c.audit(d)
	if app.Current == 0 {
		return Outcome{}, nil
	}
	current, err := d.State().Release(c.App, app.Current)
	if err != nil {
		return Outcome{}, err
	}
	next := *current
	next.RollbackOf, next.Description = 0, c.describe()
	return c.startRelease(d, next, nil)
}

// check validates the change against the app that it is for.
func (c ChangeConfig) check(app *cluster.App) error {
	if len(c.Set)+len(c.Unset) == 0 {
		return cluster.Invalid("config", "there is no config variable to change").WithHint("set one with: paas config set KEY=value")
	}
	if err := checkSecrets(c.Set); err != nil {
		return err
	}
	for _, key := range c.Unset {
		if _, both := c.Set[key]; both {
			return cluster.Invalid("config_key", "config key %s is both set and unset", key)
		}
		if _, ok := app.Config[key]; !ok {
			e := cluster.NotFound("config_key", "app %s has no config variable %.60q", app.Name, key)
			if near := cluster.Nearest(key, slices.Sorted(maps.Keys(app.Config))); len(near) > 0 {
				e = e.Because("nearest: %s", strings.Join(near, ", "))
			}
			return e.WithHint("list them with: paas config -a " + string(app.Name))
		}
	}
	return nil
}

// checkSecrets validates sealed config variables; their plaintext was validated
// before it was sealed.
func checkSecrets(m map[string]cluster.Secret) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if err := cluster.ValidateConfigKey(key); err != nil {
			return err
		}
		if len(m[key].Box) == 0 {
			return cluster.Invalid("config_value", "value of %s is not sealed", key)
		}
		if len(m[key].Box) > maxSecretBytes {
			return cluster.Invalid("config_value", "value of %s is too large", key).
				Because("the limit is %d bytes", cluster.MaxConfigValueBytes)
		}
	}
	return nil
}

// audit names keys, never values.
func (c ChangeConfig) audit(d *cluster.Draft) {
	if len(c.Set) > 0 {
		keys := list(slices.Sorted(maps.Keys(c.Set)))
		c.event(d, cluster.Event{Action: "config.set", App: c.App, Target: keys, Text: "config " + keys + " set"})
	}
	if len(c.Unset) > 0 {
		keys := list(slices.Sorted(slices.Values(c.Unset)))
		c.event(d, cluster.Event{Action: "config.unset", App: c.App, Target: keys, Text: "config " + keys + " unset"})
	}
}

// describe is the release's description: "Set A, B; unset C".
func (c ChangeConfig) describe() string {
	var parts []string
	if len(c.Set) > 0 {
		parts = append(parts, "set "+list(slices.Sorted(maps.Keys(c.Set))))
	}
	if len(c.Unset) > 0 {
		parts = append(parts, "unset "+list(slices.Sorted(slices.Values(c.Unset))))
	}
	text := strings.Join(parts, "; ")
	return strings.ToUpper(text[:1]) + text[1:]
}

// list joins names; beyond four it counts.
func list(names []string) string {
	if len(names) > 4 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}
