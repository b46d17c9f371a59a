// Package builder turns source into images. It owns what is detected in a source
// tree, the Dockerfiles written for it, the build in the host's Docker Engine,
// the embedded OCI registry, and what of both is kept. It never decides what
// runs where, and knows neither releases nor replicas.
//
//	tree ─ Unpack ─ Detect ─ Dockerfile ─ context ─ engine ─ image ─ push ─ registry
//	         paas.toml > Procfile > app.json > defaults → processes, rollout, env
//
// Invariants: a build leaves nothing behind but its image and the engine's layer
// cache, also when it is cancelled; garbage collection and pushes exclude each
// other; only names and labels of this cluster are ever removed from the engine.
//
// # paas.toml
//
// The whole file (testdata/paas.toml; a test parses it):
//
//	# paas.toml lies at the root of the source tree. Everything in it is optional,
//	# and a key that is not known is an error.
//	app = "blog"             # for the command line in this folder
//	deploy_branch = "live"   # pushes to it deploy; otherwise main and master do
//
//	[build]
//	method = "dockerfile"    # auto, dockerfile, go, node, python, static, image
//	dockerfile = "docker/Dockerfile"
//	target = "production"    # stage of the Dockerfile
//	args = { VERSION = "2" } # build arguments; never secrets
//	# static_dir = "public"  # with method "static": the folder that is served
//	# image = "registry.example.com/team/app:1.2" # with method "image"
//
//	[deploy]
//	release = "bin/migrate"  # runs once, before a new release takes over
//	surge = 2                # replicas beyond the wanted number during a deploy
//	min_healthy = "1s"       # how long a new replica is healthy before an old one goes
//	deadline = "3m"          # a deploy without progress for that long is reverted
//	drain = "30s"            # how long an old replica may finish its requests
//
//	[env]                    # defaults, set only while the app has no such value
//	LOG_LEVEL = "info"
//
//	[processes]              # these go over the Procfile's
//	worker = "bin/worker --queue default"
//
//	[process.web]            # the same as a table
//	command = "bin/serve --port $PORT"
//	entrypoint = "keep"      # keep the image's ENTRYPOINT, or replace it
//	port = 3000              # becomes $PORT; otherwise what the image exposes, or 8080
//	memory = "512M"
//	cpu = 0.5                # a share that is always there, or "500m"; not a cap
//	stop_grace = "30s"       # from SIGTERM to SIGKILL
//	check = { kind = "http", path = "/healthz", boot = "60s", interval = "5s", timeout = "5s", failures = 3 }
//	constraints = ["disk=ssd", "zone!=c"] # which nodes may run it: labels, zone, name, arch
//
// # Commands
//
// A command of plain words is the argument vector itself: it needs no shell in
// the image and gets SIGTERM as process 1. Anything that only a shell
// understands ($PORT, pipes, globs) runs in the image's own /bin/sh, with exec
// where the line is a single command. Images from a Dockerfile and prebuilt ones
// keep their ENTRYPOINT, which then gets the command as its arguments.
//
// # What a web process gets
//
// Its port is paas.toml's, else the only TCP port that the image exposes, else
// 8080; its check is a TCP connection unless paas.toml or app.json say otherwise.
// There is a web process for every image that has a command, unless there is a
// Procfile and it names none.
package builder
