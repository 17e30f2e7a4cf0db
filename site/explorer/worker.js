// Runs the course's package, in a thread of its own: the page stays alive whatever a file does.
import { loadPyodide } from "./pyodide/pyodide.mjs";

const here = new URL("./", self.location.href);
const started = start();
let python, explorer, mounted = 0;

async function start() {
  python = await loadPyodide({ indexURL: new URL("pyodide/", here).href });
  const archive = await fetch(new URL("package.zip", here));
  if (!archive.ok) throw new Error(`package.zip: ${archive.status}`);
  python.unpackArchive(await archive.arrayBuffer(), "zip", { extractDir: "/package" });
  python.runPython("import sys; sys.path.insert(0, '/package')");
  explorer = python.pyimport("explorer");
  // From here on nothing is fetched, and nothing could be.
  for (const name of ["fetch", "XMLHttpRequest", "WebSocket", "EventSource", "importScripts"])
    Object.defineProperty(self, name, { value: undefined });
}

function mount(files) {
  const folder = `/files/${++mounted}`;
  python.FS.mkdirTree(folder);
  python.FS.mount(python.FS.filesystems.WORKERFS, { files }, folder);
  python.FS.chdir(folder);
}

function answer({ id, job, files, command, names }) {
  if (job === "mount") return mount(files);
  if (job === "folders") return explorer.folders();
  if (job === "spans") return explorer.spans(names[0]);
  if (job === "text") return explorer.text(command, python.toPy(names));
  let last = 0;
  const tell = (done, total) => {
    const now = performance.now();
    if (now - last < 50) return;
    last = now;
    self.postMessage({ id, done, total });
  };
  return explorer.ckpt(command, python.toPy(names), tell);
}

self.onmessage = async ({ data }) => {
  try {
    await started;
    self.postMessage({ id: data.id, result: answer(data) });
  } catch (error) {
    // Python's memory cannot be trusted after an error that is none of Python's.
    self.postMessage({ id: data.id, error: String(error?.message ?? error).slice(-2000), dead: true });
  }
};
started.then(() => self.postMessage({ ready: true }), (error) => self.postMessage({ failed: String(error) }));
