// Runs the course's package, in a thread of its own: the page stays alive whatever a file does.
import { forget, startPython } from "./python.js";

const started = start();
let python, explorer, mounted = 0;

async function start() {
  const found = await startPython();
  python = found.python;
  explorer = python.pyimport("explorer");
  // From here on nothing is fetched, and nothing could be.
  for (const name of ["fetch", "XMLHttpRequest", "WebSocket", "EventSource", "importScripts"])
    Object.defineProperty(self, name, { value: undefined });
  return found.woke;
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
    // Python's memory cannot be trusted after an error that is none of Python's, nor what it woke from.
    await forget();
    self.postMessage({ id: data.id, error: String(error?.message ?? error).slice(-2000), kind: error?.name, dead: true });
  }
};
started.then((woke) => self.postMessage({ ready: true, woke }), (error) => self.postMessage({ failed: String(error) }));
