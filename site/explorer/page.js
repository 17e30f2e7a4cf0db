// The page: takes files, asks the reader, shows what it says. All text from files is text.
import { ByteMap } from "./map.js";
import { Ended, Reader } from "./reader.js";
import { auditTable, diagnosis, differences, verified } from "./tables.js";
import { Tree, count, element, visible } from "./tree.js";
import { VERDICTS } from "./words.js";

const $ = (id) => document.getElementById(id);
const STARTING = "Starting Python in your browser …";
const EXAMPLES = ["weights.pt", "training run.pt", "tied.safetensors", "damaged.pt", "stranger.pt"];
const GONE = ["NotReadableError", "NotFoundError", "SecurityError"]; // what reading a File throws
let files = new Map(), shown = 0, entries = [], told = {}, checking = 0;

function say(text, kind = "") {
  $("status").textContent = text;
  $("status").className = kind;
}

function started(how) {
  document.documentElement.dataset.python = how;
  // Not before: on the first use it would fetch everything a second time while Python starts.
  navigator.serviceWorker?.register("service-worker.js").catch(() => {}); // without it, the page only opens slower
}

const supported = typeof WebAssembly === "object" && typeof Worker === "function" && location.protocol !== "file:";
const reader = supported ? new Reader((state, reason) => {
  if (state === "ready") started(reason);
  if (state === "ready" && $("status").textContent === STARTING) say("Ready.");
  if (state === "failed") say(`Python could not be started: ${reason}. The command does the same: ckpt inspect FILE`, "bad");
}) : null;
if (!supported) {
  say(location.protocol === "file:" ? "Serve this folder to use the page: python3 -m http.server"
    : "This browser has no WebAssembly or no workers. The command does the same: ckpt inspect FILE", "bad");
}
const tree = new Tree($("tree"), describe), map = new ByteMap($("map"));

/** End a check that runs: what is asked for next need not wait for it. */
function stop() {
  if (checking) reader.cancel();
}

async function open(list) {
  if (!reader || !list.length) return;
  stop();
  const turn = ++shown; // what is still being read of the files before is not shown any more
  if ($("status").textContent !== STARTING) say("Opening …");
  files = new Map();
  for (const file of list) {
    let name = file.webkitRelativePath || file.name;
    for (let i = 2; files.has(name); i++) name = `${i}-${file.name}`;
    files.set(name, new File([file], name));
  }
  let folders;
  try {
    await reader.open([...files.values()]);
    folders = JSON.parse(await reader.ask("folders", []));
  } catch (error) {
    if (turn !== shown) return;
    $("results").hidden = true; // they are of other files
    return say(`The files could not be opened: ${error.message}`, "bad");
  }
  if (turn !== shown) return;
  // A folder that is one checkpoint comes first; its files can be looked at one by one, too.
  const choices = [...folders.map((name) => [name, name === "." ? "these files together" : `${name}, the whole folder`]),
    ...[...files.keys()].sort().map((name) => [name, name])];
  for (const id of ["file", "other"]) $(id).replaceChildren(...choices.map(([name, label]) => element("option", { value: name }, label)));
  $("other").selectedIndex = Math.min(1, choices.length - 1);
  $("which").hidden = $("comparing").hidden = choices.length < 2;
  $("alone").hidden = choices.length > 1;
  await show($("file").value);
}

/** Ask for something that may take long: with a bar, and a button that ends it. */
async function work(doing, job, names, command) {
  say(doing);
  $("working").hidden = false;
  $("progress").removeAttribute("value");
  try {
    return await reader.ask(job, names, { command, progress: (done, total) => {
      $("progress").max = total;
      $("progress").value = done;
    } });
  } finally {
    $("working").hidden = true;
  }
}

async function ckpt(command, names) {
  const mine = told; // of what is shown now
  const json = await work(`Reading: ckpt ${command} …`, "ckpt", names, command);
  mine[command] = { json, names };
  return JSON.parse(json).files[0];
}

function failed(error) {
  const first = error.message.trim().split("\n")[0].slice(0, 200);
  if (error.message === "cancelled") say("Cancelled.");
  else if (!(error instanceof Ended)) say(`This page has a fault: ${first}. The command has its own: ckpt inspect FILE`, "bad");
  else if (GONE.includes(error.kind)) say("The browser cannot read this file: it was changed, moved or removed after it was opened, or is not yours to read. Open it again.", "bad");
  else say(`Reading this file ended Python in your browser (${first}), so it was started anew. `
    + "Nothing in the file was run. The command can do more: ckpt inspect FILE", "bad");
}

async function show(name) {
  stop();
  const turn = ++shown;
  told = {};
  $("results").hidden = true;
  for (const id of ["verified", "findings", "differences", "audit", "detail"]) $(id).replaceChildren();
  $("verdict").textContent = $("headline").textContent = "";
  $("filter").value = "";
  tree.show([]);
  map.show([]);
  try {
    const found = await ckpt("inspect", [name]);
    if (turn !== shown) return;
    $("results").hidden = false;
    showContents(name, found);
    const spans = await reader.ask("spans", [name]);
    if (turn !== shown) return;
    map.show(JSON.parse(spans));
    const judged = await ckpt("audit", [name]);
    if (turn !== shown) return;
    showAudit(judged);
    say("Done.");
  } catch (error) {
    if (turn !== shown) return;
    $("results").hidden = false;
    $("headline").textContent ||= `${name}: not read`;
    failed(error);
  }
}

function showContents(name, found) {
  copies();
  if (found.error) {
    $("headline").className = found.verdict === "damaged" ? "bad" : "warn";
    $("headline").textContent = found.error.message;
    entries = [];
  } else if (found.reader) {
    $("headline").className = "warn";
    $("headline").textContent = `${name}: no checkpoint of PyTorch but ${found.kind}; read it with ${found.reader}`;
    entries = [...found.arrays.map(([array, shape, dtype]) => ({ name: array || name, shape, dtype })),
      ...Object.entries(found.facts).map(([key, value]) => ({ name: key, value: String(value) }))];
  } else {
    const tensors = found.tensors ?? [], others = found.other_tensors ?? [];
    const total = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
    $("headline").className = "";
    $("headline").textContent = found.tensors
      ? `${name === "." ? "these files" : name}: a ${found.kind} of ${count(found.bytes, "byte")}; ${count(tensors.length, "tensor")} of ${count(total, "byte")}`
        + (others.length ? `, and ${others.length} that are not read` : "")
      : `${name}: ${found.kind}, ${count(found.bytes, "byte")}, ${count(found.records.length, "record")}`;
    const values = Object.entries(found.values ?? {}).map(([key, value]) => ({ name: key, value: plain(value) }));
    const records = (found.records ?? []).map((record) => ({ ...record, dtype: "record", whole: true }));
    entries = [...tensors, ...others.map((other) => ({ ...other, value: other.reason })), ...values, ...records];
  }
  filter();
}

const plain = (value) => value !== null && typeof value === "object" && "described" in value ? value.described : JSON.stringify(value);

function filter() {
  const wanted = $("filter").value.toLowerCase();
  const chosen = wanted ? entries.filter((entry) => entry.name.toLowerCase().includes(wanted)) : entries;
  tree.show(chosen);
  $("count").textContent = `${chosen.length.toLocaleString("en")} of ${entries.length.toLocaleString("en")}`;
}

function describe(entry) {
  const parts = [entry.name];
  if (entry.shape) parts.push(`shape [${entry.shape.join(", ")}]`);
  if (entry.dtype) parts.push(entry.dtype);
  if (entry.bytes !== undefined) parts.push(count(entry.bytes, "byte"));
  if (entry.stride) parts.push(`steps [${entry.stride.join(", ")}]`, entry.device);
  if (entry.requires_grad) parts.push("requires grad");
  if (entry.shared_with) parts.push(`shares its memory with ${entry.shared_with}`);
  if (entry.class) parts.push(`class ${entry.class}`);
  if (entry.value !== undefined) parts.push(entry.value);
  $("detail").textContent = visible(parts.join(" · "));
}

function showAudit(found) {
  copies();
  const [kind, words] = VERDICTS[found.verdict] ?? ["warn", ""];
  $("verdict").className = kind;
  $("verdict").textContent = found.error ? found.error.message : `${words} (Judged for ${found.judged_for}.)`;
  if (found.error) return;
  $("audit").replaceChildren(...auditTable(found));
}

async function check(command, place, draw) {
  const turn = shown;
  $(place).replaceChildren();
  checking++;
  try {
    const found = await ckpt(command, command === "diff" ? [$("file").value, $("other").value] : [$("file").value]);
    if (turn !== shown) return;
    copies();
    $(place).replaceChildren(...(found.error ? [element("p", { class: "bad" }, found.error.message)] : draw(found)));
    say("Done.");
  } catch (error) {
    if (turn === shown) failed(error);
  } finally {
    checking--;
  }
}

function copies() {
  const buttons = Object.entries(told).flatMap(([command, { json, names }]) => ["JSON", "text"].map((form) => {
    const button = element("button", { type: "button", "data-copy": `${command} ${form}` }, `Copy ${command} as ${form}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(form === "JSON" ? json : await reader.ask("text", names, { command }));
        say(`Copied: what ckpt ${command}${form === "JSON" ? " --json" : ""} prints.`);
      } catch (error) {
        say(`Not copied: ${error.message}`, "bad");
      }
    });
    return button;
  }));
  $("copies").replaceChildren(...buttons);
}

async function example(name) {
  say(`Fetching the example ${name} …`);
  const turn = shown, answer = await fetch(`examples/${encodeURIComponent(name)}`);
  if (turn !== shown) return; // another file was opened meanwhile
  if (!answer.ok) return say(`The example is not there: ${answer.status}`, "bad");
  await open([new File([await answer.arrayBuffer()], name)]);
}

/** Return the files of a drop; those of folders too. */
async function dropped(transfer) {
  const found = [];
  const walk = async (entry, path) => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push(new File([file], path + entry.name));
    } else {
      const folder = entry.createReader();
      for (;;) {
        const some = await new Promise((resolve, reject) => folder.readEntries(resolve, reject));
        if (!some.length) break;
        for (const inner of some) await walk(inner, `${path}${entry.name}/`);
      }
    }
  };
  const tops = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  for (const top of tops) await walk(top, "");
  return found.length ? found : [...transfer.files];
}

for (const id of ["files", "folder"]) $(id).addEventListener("change", (event) => {
  const list = [...event.target.files];
  event.target.value = ""; // so that the same file can be chosen again
  open(list);
});
for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
addEventListener("dragleave", () => $("drop").classList.remove("over"));
addEventListener("drop", async (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  await open(await dropped(event.dataTransfer));
});
$("file").addEventListener("change", () => show($("file").value));
$("filter").addEventListener("input", filter);
$("cancel").addEventListener("click", () => reader.cancel());
$("verify").addEventListener("click", () => check("verify", "verified", verified));
$("doctor").addEventListener("click", () => check("doctor", "findings", diagnosis));
$("diff").addEventListener("click", () => check("diff", "differences", differences));
for (const name of EXAMPLES) {
  const button = element("button", { type: "button" }, name);
  button.addEventListener("click", () => example(name));
  $("examples").append(button);
}

const THEMES = ["system", "light", "dark"];
function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = `Theme: ${name}`;
}
$("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  theme(next);
  localStorage.setItem("explorer-theme", next);
});
theme(THEMES.includes(localStorage.getItem("explorer-theme")) ? localStorage.getItem("explorer-theme") : "system");
const asked = new URLSearchParams(location.search).get("example");
if (EXAMPLES.includes(asked) && reader) example(asked);
