package builder

import (
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"

	"paas/cluster"
)

// pythonApp is a Python app's way to an image.
type pythonApp struct {
	version string   // "3.11" that the app asks for, "" for the default
	files   string   // what is copied before the install; "" copies everything
	install string   // the command; "" when there is nothing to install
	web     []string // nil when the settings say
	remarks []string
}

var (
	pythonVersionRE     = regexp.MustCompile(`^(?:python-)?(3\.[0-9]{1,2})\b`)
	requirementRE       = regexp.MustCompile(`(?m)^[ \t]*[^\s#]`)
	localRequireRE      = regexp.MustCompile(`(?m)^[ \t]*(-[recf]\b|--(requirement|editable|constraint|find-links)\b|[./]|file:|\S+\.whl\b)`)
	djangoSettingsRE    = regexp.MustCompile(`["']([A-Za-z_][A-Za-z0-9_.]*)\.settings[A-Za-z0-9_.]*["']`)
	flaskAppRE          = regexp.MustCompile(`(?m)^([A-Za-z_][A-Za-z0-9_]*)\s*(?::[^=\n]*)?=\s*(?:flask\.)?Flask\(`)
	fastAPIAppRE        = regexp.MustCompile(`(?m)^([A-Za-z_][A-Za-z0-9_]*)\s*(?::[^=\n]*)?=\s*(?:fastapi\.FastAPI|FastAPI|Starlette)\(`)
	pythonEntryPoints   = []string{"app.py", "main.py", "server.py", "wsgi.py", "asgi.py"}
	pythonVersionSource = []string{".python-version", "runtime.txt"}
)

func (s settings) planPython(fsys fs.FS) (recipe, error) {
	p := &pythonApp{}
	for _, f := range pythonVersionSource {
		if data, ok, err := readSmall(fsys, f); err == nil && ok {
			if m := pythonVersionRE.FindSubmatch(data); m != nil {
				p.version = string(m[1])
				break
			}
		}
	}
	packages, err := p.planInstall(fsys)
	if err != nil {
		return nil, err
	}
	if p.install == "" {
		p.remarks = append(p.remarks, "no dependencies: nothing is installed")
	}
	if s.commandFor(cluster.ProcessWeb) {
		return p, nil
	}
	if p.web = pythonWeb(fsys, packages); p.web == nil {
		return nil, failed("python", "nothing says how the app is started").
			Because("there is no Procfile, no manage.py and none of %s", strings.Join(pythonEntryPoints, ", ")).
			WithHint(`add a Procfile with the line "web: gunicorn app:app --bind 0.0.0.0:$PORT"`)
	}
	return p, nil
}

// planInstall decides how dependencies get in; packages is the text that names them.
func (p *pythonApp) planInstall(fsys fs.FS) (packages string, err error) {
	if data, ok, err := readSmall(fsys, "requirements.txt"); err != nil || ok {
		if requirementRE.Match(data) {
			p.files, p.install = "requirements.txt", "pip install -r requirements.txt"
			if localRequireRE.Match(data) {
				p.files = "" // it reaches for other files of the tree
			}
		}
		return string(data), err
	}
	if data, ok, err := readSmall(fsys, "Pipfile"); err != nil || ok {
		var pipfile struct {
			Packages map[string]any `toml:"packages"`
		}
		if _, err := toml.Decode(string(data), &pipfile); err != nil {
			return "", failed("python", "Pipfile is not valid").Because("%s", err).Wrap(err)
		}
		if len(pipfile.Packages) > 0 {
			p.files, p.install = "Pipfile", "pip install pipenv && pipenv install --system --skip-lock"
		}
		if len(pipfile.Packages) > 0 && exists(fsys, "Pipfile.lock") {
			p.files, p.install = "Pipfile Pipfile.lock", "pip install pipenv && pipenv requirements > /tmp/requirements.txt && pip install -r /tmp/requirements.txt"
		}
		return string(data), err
	}
	data, ok, err := readSmall(fsys, "pyproject.toml")
	if err != nil || !ok {
		return "", err
	}
	var project struct {
		Project struct {
			Dependencies []string `toml:"dependencies"`
			Dynamic      []string `toml:"dynamic"`
		} `toml:"project"`
		Tool struct {
			Poetry struct {
				Dependencies map[string]any `toml:"dependencies"`
			} `toml:"poetry"`
		} `toml:"tool"`
	}
	if _, err := toml.Decode(string(data), &project); err != nil {
		return "", failed("python", "pyproject.toml is not valid").Because("%s", err).Wrap(err)
	}
	delete(project.Tool.Poetry.Dependencies, "python")
	if len(project.Project.Dependencies)+len(project.Project.Dynamic)+len(project.Tool.Poetry.Dependencies) > 0 {
		p.install = "pip install ."
	}
	return string(data), nil
}

// pythonWeb guesses the command that serves.
func pythonWeb(fsys fs.FS, packages string) []string {
	has := func(name string) bool { return strings.Contains(strings.ToLower(packages), name) }
	if manage, ok, err := readSmall(fsys, "manage.py"); err == nil && ok {
		m := djangoSettingsRE.FindSubmatch(manage)
		if m != nil && has("gunicorn") {
			return argv("gunicorn " + string(m[1]) + ".wsgi --bind 0.0.0.0:$PORT")
		}
		return argv("python manage.py runserver 0.0.0.0:$PORT")
	}
	for _, file := range pythonEntryPoints {
		data, ok, err := readSmall(fsys, file)
		if err != nil || !ok {
			continue
		}
		module := strings.TrimSuffix(path.Base(file), ".py")
		if m := fastAPIAppRE.FindSubmatch(data); m != nil && has("uvicorn") {
			return argv("uvicorn " + module + ":" + string(m[1]) + " --host 0.0.0.0 --port $PORT")
		}
		if m := flaskAppRE.FindSubmatch(data); m != nil && has("gunicorn") {
			return argv("gunicorn " + module + ":" + string(m[1]) + " --bind 0.0.0.0:$PORT")
		}
		if m := flaskAppRE.FindSubmatch(data); m != nil && has("flask") {
			return argv("flask --app " + module + " run --host 0.0.0.0 --port $PORT")
		}
		return []string{"python", file}
	}
	return nil
}

func (p *pythonApp) notes() []string { return p.remarks }

func (p *pythonApp) bases() []string {
	if p.version == "" {
		return []string{"python:3-slim"}
	}
	return []string{"python:" + p.version + "-slim", "python:3-slim"}
}

func (p *pythonApp) dockerfile(e Engine, base string) string {
	d := newDockerText(e)
	if p.install != "" {
		d.line("FROM %s AS build", base)
		d.run("python3 -m venv /venv")
		d.line("ENV PATH=/venv/bin:$PATH")
		d.line("WORKDIR /app")
		if p.files != "" {
			d.line("COPY %s ./", p.files)
		} else {
			d.line("COPY . .")
		}
		d.run(p.install, "/root/.cache/pip")
		d.line("")
	}
	d.line("FROM %s", base)
	d.run(ownFolder)
	d.line("WORKDIR /app")
	if p.install != "" {
		d.line("COPY --from=build /venv /venv")
		d.line("ENV PATH=/venv/bin:$PATH")
	}
	d.line("ENV PYTHONUNBUFFERED=1 HOME=/app")
	d.line("COPY --chown=1000:1000 . .")
	d.line("USER 1000:1000")
	d.start(p.web)
	return d.String()
}
