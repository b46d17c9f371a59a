const http = require("http");
const server = http.createServer((req, res) => res.end("hello from Node\n"));
server.listen(process.env.PORT);
process.on("SIGTERM", () => server.close(() => process.exit(0)));
