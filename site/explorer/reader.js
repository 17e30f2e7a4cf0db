// Asks the worker, and starts another when one is cancelled or has died.

/** The worker ended before it could answer; `kind` is the name of its error, where it has one. */
export class Ended extends Error {
  constructor(message, kind = "") {
    super(message);
    this.kind = kind;
  }
}

export class Reader {
  #worker; #files = []; #waiting = new Map(); #next = 1; #mounted;

  constructor(onState) {
    this.onState = onState;
    this.#start();
  }

  #start() {
    this.#worker = new Worker("worker.js", { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#take(data);
    this.#worker.onerror = (event) => this.#die(event.message || "the worker stopped");
    this.#mounted = this.#files.length ? this.#ask({ job: "mount", files: this.#files }) : Promise.resolve();
    this.#mounted.catch(() => {}); // said where something is asked of the files
  }

  #take(data) {
    if (data.ready) return this.onState("ready", data.woke ? "woke" : "began");
    if (data.failed) return this.onState("failed", data.failed);
    const asked = this.#waiting.get(data.id);
    if (!asked) return;
    if (data.total !== undefined) return asked.progress?.(data.done, data.total);
    this.#waiting.delete(data.id);
    if (data.error === undefined) asked.resolve(data.result);
    else asked.reject(new Ended(data.error, data.kind));
    if (data.dead) this.#die(data.error);
  }

  #ask(message, progress) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, progress });
      this.#worker.postMessage({ id, ...message });
    });
  }

  #die(reason) {
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(new Ended(reason));
    this.#waiting.clear();
    this.#start();
  }

  /** Let the worker see these files, by name, and no others. */
  open(files) {
    this.#files = files;
    this.#mounted = this.#ask({ job: "mount", files });
    return this.#mounted;
  }

  async ask(job, names, { command, progress } = {}) {
    await this.#mounted;
    return this.#ask({ job, names, command }, progress);
  }

  cancel() { this.#die("cancelled"); }
}
