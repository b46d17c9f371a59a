package cli

// topics are pages that belong to no command.
var topics = map[string]string{
	"exit-codes": `paas exit codes

  0    done; for deploys: healthy
  1    failed, other
  2    usage error, or input needed and nobody to ask
  3    not found
  4    login needed, or denied
  5    conflict: a deploy is in progress, the name is taken
  6    the release was built but did not become healthy; it was reverted
  7    not placeable: capacity or constraints; nothing is built: a disk is full
  8    waited until --timeout; the operation goes on, the text names it
  9    build failed
  10   paas config import --diff --exit-code: something would change
  130  interrupted; the text says what still runs
  n    run, exec: the command's own code
`,
	"limits": `what one deploy may hold

  100,000 files and folders   in a source tree
  2 GiB                       of a source tree, unpacked
  1 GiB                       of it for a build: .dockerignore names what it does not need
  2 GiB                       for the pack of one git push
  1.5 GiB                     of memory to unpack it, or half the host's
  256 KiB                     for each of paas.toml, Procfile and app.json
  100 levels                  of folders in folders

  What is more is refused, and what serves goes on serving. git push exits with 1,
  paas deploy with 9.

how long one request may take

  30 s                        to the first byte of the answer; then the router says 504 H-timeout
  55 s                        without a byte from either side; WebSockets may be silent

  What takes longer answers at once and works on: in a worker, or as a stream.

what hosts wait for

  4 s                         of silence until a host is down and its replicas are placed elsewhere
  10 s                        that a request waits while no server leads
  1 h                         that a join string is good, or --ttl: 1 min to 7 d; it lets one host in
  30 days                     of a host's certificate, renewed after 20: off for longer, it joins anew
`,
	"cluster": `cluster: several hosts

  paas server --data DIR --advertise IP --zone a --domain NAME      makes one, and prints join strings
  paas server --data DIR --advertise IP --zone b --join 'paas://…'  comes into it
  paas agent  --data DIR --advertise IP --zone c --join 'paas://…'  runs apps only; --router: and a router

  Servers keep the state, the images and the repositories. A change counts when a majority of them
  has it: of three one may be lost, of five two. Any server and any router may be asked.

  paas join create --role server     another string; it lets one host in, within an hour
  paas nodes                         the hosts; info, label, cordon, drain, uncordon, remove
  paas nodes drain NODE --watch      everything moves, started elsewhere before it ends here
  paas cluster status                who leads, who votes, how many may still be lost

  a host is silent for 4 s           its replicas start elsewhere, zones evenly filled
  the server that leads dies         another one leads within a second; requests wait for it
  most servers are down              nothing can be changed; apps, agents and routers go on
  most servers are lost for good     paas cluster recover --data DIR, on one that is left

  Hosts reach each other at one TCP port, 7443 (--listen), with certificates of the cluster's own.
  Its UDP twin lets hosts that lost all others find them again, on the same network.

  More: docs/cluster.md
`,
	"environment": `paas environment

  PAAS_APP              app, like --app
  PAAS_CONTEXT          context, like --context
  PAAS_SERVER           server to talk to without a context, with PAAS_TOKEN and PAAS_CA_FILE
  PAAS_TOKEN            token, instead of the context's
  PAAS_CA_FILE          authority (PEM) that the server must be signed by, instead of the context's
  PAAS_HOME             contexts and credentials (default $XDG_CONFIG_HOME/paas or ~/.config/paas)
  PAAS_OUTPUT=json      like --json
  PAAS_PROGRESS         like --progress
  PAAS_BACKUP_PASSPHRASE
  NO_COLOR, FORCE_COLOR, CI
`,
	"apps-of-folders": `how paas knows which app is meant

  1  -a, --app NAME
  2  -r, --remote NAME: the app of that git remote
  3  PAAS_APP
  4  paas.toml here or above, up to the repository's root:  app = "blog"
  5  the one git remote that points at the current context

  Commands that change something say what they found, before they begin.
`,
	"paas.toml": `# paas.toml: how an app is built and run; all of it is optional

  app = "blog"                    # which app this folder is
  deploy_branch = "main"          # pushes to other branches are stored only

  [build]
  method = "dockerfile"           # or auto, image, go, node, python, static
  dockerfile = "Dockerfile"
  target = "final"
  args = { KEY = "value" }
  # static_dir = "public"         # a folder of files, served as they are
  # image = "name:tag"            # nothing is built

  [deploy]
  release = "bin/migrate"         # runs once before a release serves
  surge = 1                       # replicas started at once
  min_healthy = "3s"              # a replica counts after passing its check so long
  deadline = "5m"                 # after that everything goes back
  drain = "30s"                   # for requests that are under way

  [env]                           # defaults for config variables
  LOG_LEVEL = "info"

  [processes]                     # goes before the Procfile
  worker = "bin/work"

  [process.web]
  command = "bin/serve"
  port = 8080
  memory = "512M"
  cpu = 0.5
  stop_grace = "10s"
  entrypoint = "keep"             # or replace: what becomes of the image's own
  check = { path = "/healthz" }   # kind, boot, interval, timeout, failures
  constraints = ["disk=ssd", "zone!=c"]  # which nodes may run it: labels, zone, name, arch
`,
	"volumes": `volumes: data that outlives replicas

  paas volumes create data              a directory on one node
  paas volumes attach data /data        web finds it there; --process TYPE for others
  paas volumes detach data              the data stays
  paas volumes destroy data             and only this removes the data

  A volume has one user at a time: its process type has one replica at most, always on
  the volume's node, and a release, a config change or a restart stops it before it
  starts the next one (a release that fails is reverted in the same way). Attaching and
  detaching replace the replica without a gap.

  While its node is down the replica waits: its data is nowhere else. Keep what must
  survive a host in a database that copies itself, and back volumes up from within:
  paas exec web.1 -- tar -C /data -cz . > data.tar.gz

  An empty volume begins with what the image has at its path. Release commands and
  paas run get no volumes; paas exec does.

  No release, no end of the app, no paas down --purge and no removal of a node touches
  the data; paas backup does not hold it.
`,
	"procfile": `# Procfile: the commands that an app's processes are started with

  # This one is routed:
  web: bin/serve --port $PORT
  # This one runs once before a release serves:
  release: bin/migrate
  # All others run, and are not routed:
  worker: bin/work

  # A type is lower-case letters, digits and dashes; an app has up to 50.
  # Start more of one with: paas scale worker=2
`,
	"app.json": `app.json: Heroku's, as far as it says how to run an app

  {
    "env": {
      "LOG_LEVEL": "info",
      "SECRET": {"generator": "secret"},
      "API_KEY": {"required": true, "description": "ask operations"}
    },
    "formation": {"web": {"quantity": 2}},
    "healthchecks": {"web": [{"type": "startup", "path": "/healthz"}]}
  }
`,
}
