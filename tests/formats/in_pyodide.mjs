// Runs a Python program under Pyodide: node in_pyodide.mjs WHERE=FOLDER... PROGRAM ARGUMENT...
// Each FOLDER of this machine is seen by the program as WHERE; its output and status are passed on.
import { writeSync } from "node:fs";
import { loadPyodide } from "../../site/node_modules/pyodide/pyodide.mjs";

const given = process.argv.slice(2);
const first = given.findIndex((argument) => !argument.startsWith("/") || !argument.includes("="));
const [program, ...rest] = given.slice(first);

const pyodide = await loadPyodide();
pyodide.setStdout({ write: (bytes) => writeSync(1, bytes) });
pyodide.setStderr({ write: (bytes) => writeSync(2, bytes) });
for (const folder of given.slice(0, first)) {
  const [where, path] = folder.split("=", 2);
  pyodide.mountNodeFS(where, path);
}
pyodide.globals.set("given", pyodide.toPy([program, ...rest]));
const run = `
import runpy, sys
sys.dont_write_bytecode = True
sys.argv, sys.path[:0] = list(given), ["/code", "/packages"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
    status = 0
except SystemExit as stop:
    status = stop.code
int(status or 0)
`;
try {
  process.exitCode = await pyodide.runPythonAsync(run);
} catch (error) {
  console.error(error.message); // the rest of it is Pyodide's own source
  process.exitCode = 1;
}
