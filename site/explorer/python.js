// Starts Python with the course's package. The first start leaves a picture of its memory, made
// before any file was seen, in the browser's cache; later ones wake from it, in half the time.
import { loadPyodide } from "./pyodide/pyodide.mjs";

const here = new URL("./", self.location.href);
const indexURL = new URL("pyodide/", here).href;
const PICTURES = "checkpoint-explorer-python";

/** Return Pyodide, ready to `import explorer`, and whether it woke. */
export async function startPython() {
  const archive = await fetch(new URL("package.zip", here));
  if (!archive.ok) throw new Error(`package.zip: ${archive.status}`);
  const code = new Uint8Array(await archive.arrayBuffer());
  const name = await nameFor(code).catch(() => undefined); // not told where pages are not secure
  const woke = await wake(name, code);
  return { python: woke ?? await begin(name, code), woke: woke !== undefined };
}

/** Forget the picture: the next start does without. */
export async function forget() {
  try {
    await caches.delete(PICTURES);
  } catch { /* there is no cache, so no picture */ }
}

/** A picture serves the code and the browser that it was made with, and no other. */
async function nameFor(code) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", code));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return new URL(`picture?${hex}&${encodeURIComponent(navigator.userAgent)}`, here).href;
}

async function wake(name, code) {
  try {
    const kept = await (await caches.open(PICTURES)).match(name);
    if (!kept) return undefined;
    const python = await loadPyodide({ indexURL, _loadSnapshot: await kept.arrayBuffer() });
    python.FS.writeFile("/package.zip", code);
    python.runPython("import explorer; explorer.folders()"); // fails here, if it does
    return python;
  } catch {
    await forget();
    return undefined;
  }
}

async function begin(name, code) {
  const python = await loadPyodide({ indexURL, _makeSnapshot: name !== undefined });
  python.FS.writeFile("/package.zip", code);
  python.runPython("import sys; sys.path.insert(0, '/package.zip'); import explorer");
  if (name !== undefined) keep(name, python);
  return python;
}

async function keep(name, python) {
  try {
    const picture = new Response(python.makeMemorySnapshot()); // now, before a file is mounted
    await forget(); // of other code
    await (await caches.open(PICTURES)).put(name, picture);
  } catch { /* no room, perhaps: the next start takes as long as this one */ }
}
