// What an import or a call means, in words. What is not listed here is said to be unknown.
const EXACT = {
  "builtins.eval": "runs any Python expression", "builtins.exec": "runs any Python code",
  "builtins.compile": "makes Python code that can be run", "builtins.getattr": "reaches anything by its name",
  "builtins.__import__": "imports any module", "builtins.open": "opens, and may overwrite, a file",
  "builtins.print": "prints; harmless by itself, and no checkpoint needs it",
  "collections.OrderedDict": "a dictionary that keeps its order: plain data",
  "collections.Counter": "a dictionary of counts: plain data",
  "collections.defaultdict": "a dictionary with a default: builds a value",
  "torch.Size": "the shape of a tensor: plain data", "torch.device": "the name of a device: plain data",
  "torch._utils._rebuild_tensor": "builds a tensor from a record of the file",
  "torch._utils._rebuild_tensor_v2": "builds a tensor from a record of the file",
  "torch._utils._rebuild_tensor_v3": "builds a tensor from a record of the file",
  "torch._utils._rebuild_parameter": "makes a tensor a parameter",
  "torch._utils._rebuild_sparse_tensor": "builds a sparse tensor",
  "torch._utils._rebuild_qtensor": "builds a quantized tensor",
  "torch.storage._load_from_bytes": "loads another checkpoint that lies inside this one",
  "torch.hub.load": "fetches code from the network and runs it",
  "torch.storage.UntypedStorage": "the bytes of a record: plain data",
  "torch.serialization._get_layout": "the name of a tensor's layout: plain data",
  "builtins.set": "a set of values: plain data", "builtins.frozenset": "a set of values: plain data",
  "builtins.bytearray": "bytes: plain data", "builtins.complex": "a complex number: plain data",
  "_codecs.encode": "turns text into bytes: how old pickles write bytes",
};
const MODULES = {
  os: "the operating system: files, programs, settings", posix: "the operating system: files, programs, settings",
  nt: "the operating system: files, programs, settings", subprocess: "starts programs", pty: "starts programs",
  sys: "Python itself", shutil: "copies and removes files", socket: "the network", urllib: "fetches from the network",
  http: "fetches from the network", requests: "fetches from the network", importlib: "imports any module",
  runpy: "runs Python files", code: "runs Python code", ctypes: "calls any compiled code", pickle: "loads another pickle",
  webbrowser: "opens pages in a browser", builtins: "a function or type of Python itself",
  numpy: "NumPy: arrays and numbers", datetime: "dates and times", pathlib: "names of files", argparse: "a program's settings",
};

/** Say what a dotted name is; a call's arguments are left out. */
export function explain(text) {
  const name = text.replace(/\(.*$/su, "");
  if (Object.hasOwn(EXACT, name)) return EXACT[name];
  if (/^torch\.\w*Storage$/u.test(name)) return "the kind of numbers in a record: plain data";
  if (/^torch\.(bool|per_\w+|q?u?int\d\w*|b?float\d\w*|complex\d+)$/u.test(name)) return "the kind of numbers of a tensor: plain data";
  const top = name.split(".")[0];
  if (Object.hasOwn(MODULES, top)) return MODULES[top];
  if (top === "torch") return "a class or function of PyTorch";
  return `a class or function of the package “${top}”, whose code would be imported`;
}

export const VERDICTS = {
  "plain data": ["good", "Plain data: loading it makes tensors and plain values, and calls nothing else."],
  "needs these globals": ["warn", "Needs these globals: loading it needs what is named below, which torch's safe loader refuses unless you allow it. Allow only what you know."],
  malformed: ["bad", "Malformed: it is nothing that torch or pickle writes, so what another reader would make of it cannot be told."],
  damaged: ["bad", "Damaged: bytes have changed or are missing, and what loading it would do cannot be told."],
  "would run code": ["bad", "Would run code: loading it without the safe loader would run code that the file brings."],
  "not a checkpoint": ["warn", "Not a checkpoint: nothing that torch, pickle or safetensors would load."],
};
