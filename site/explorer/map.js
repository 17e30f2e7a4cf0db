// The bytes of a file, to scale, zoomed by buttons, keys or the wheel.
import { count, element } from "./tree.js";

const COLOURS = { tensor: "#2f7fd1", pickle: "#d1702f", other: "#8a5cc7", header: "#c43d5a", padding: "#8a8d96" };
const WORDS = { tensor: "tensors", pickle: "the pickle", other: "small records", header: "the file's own", padding: "padding" };

export class ByteMap {
  #spans = []; #size = 0; #from = 0; #to = 1; #chosen = 0;

  constructor(place) {
    this.canvas = element("canvas", { tabindex: "0", role: "img" });
    this.text = element("p", { class: "mono", "aria-live": "polite" });
    const tools = element("p", { class: "tools" });
    for (const [name, act] of [["Zoom in", () => this.#zoom(0.5)], ["Zoom out", () => this.#zoom(2)],
      ["Whole file", () => this.#view(0, this.#size)], ["Back", () => this.#choose(this.#chosen - 1)], ["Next", () => this.#choose(this.#chosen + 1)]]) {
      const button = element("button", { type: "button" }, name);
      button.addEventListener("click", act);
      tools.append(button);
    }
    const legend = element("ul", { class: "legend" });
    for (const [kind, word] of Object.entries(WORDS)) {
      const item = element("li");
      const colour = element("span");
      colour.style.background = COLOURS[kind];
      item.append(colour, word);
      legend.append(item);
    }
    place.replaceChildren(tools, this.canvas, this.text, legend);
    this.parts = [tools, this.canvas, legend];
    this.canvas.addEventListener("click", (event) => this.#choose(this.#at(event)));
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#chosen = this.#at(event);
      this.#zoom(event.deltaY < 0 ? 0.7 : 1.4);
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => {
      const act = { "+": () => this.#zoom(0.5), "-": () => this.#zoom(2), 0: () => this.#view(0, this.#size),
        ArrowRight: () => this.#choose(this.#chosen + 1), ArrowLeft: () => this.#choose(this.#chosen - 1) }[event.key];
      if (!act) return;
      act();
      event.preventDefault();
    });
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
  }

  show(spans) {
    this.#spans = spans;
    for (const part of this.parts) part.hidden = !spans.length;
    this.#size = spans.length ? spans.at(-1)[1] : 0;
    this.#chosen = 0;
    const sums = new Map();
    for (const [start, stop, kind] of spans) sums.set(kind, (sums.get(kind) ?? 0) + stop - start);
    const parts = [...sums].map(([kind, sum]) => `${WORDS[kind]} ${(100 * sum / this.#size).toFixed(1)} %`);
    this.canvas.setAttribute("aria-label", `Byte map: ${parts.join(", ")}. Arrow keys choose a stretch, + and - zoom.`);
    this.#view(0, this.#size);
    this.#choose(0);
  }

  #view(from, to) {
    const width = Math.min(Math.max(to - from, 16), this.#size || 1);
    this.#from = Math.max(0, Math.min(from, this.#size - width));
    this.#to = this.#from + width;
    this.#draw();
  }

  #zoom(factor) {
    const [start, stop] = this.#spans[this.#chosen] ?? [0, 0];
    const middle = (Math.max(start, this.#from) + Math.min(stop, this.#to)) / 2;
    const half = (this.#to - this.#from) * factor / 2;
    this.#view(middle - half, middle + half);
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.#find(this.#from + (event.clientX - box.left) / box.width * (this.#to - this.#from));
  }

  #find(byte) {
    let low = 0, high = this.#spans.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#spans[middle][1] <= byte) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #choose(number) {
    if (!this.#spans.length) { this.text.textContent = "There is no map of this file."; return; }
    this.#chosen = Math.max(0, Math.min(number, this.#spans.length - 1));
    const [start, stop, kind, name] = this.#spans[this.#chosen];
    if (stop <= this.#from || start >= this.#to) this.#view(start - (this.#to - this.#from) / 2, start + (this.#to - this.#from) / 2);
    this.text.textContent = `${start.toLocaleString("en")} – ${stop.toLocaleString("en")}: ${WORDS[kind]}, ${name} (${count(stop - start, "byte")})`;
    this.#draw();
  }

  #draw() {
    const ratio = devicePixelRatio, width = this.canvas.clientWidth * ratio, height = this.canvas.clientHeight * ratio;
    this.canvas.width = width;
    this.canvas.height = height;
    const pen = this.canvas.getContext("2d"), scale = width / (this.#to - this.#from);
    let drawn = -1; // many stretches share a pixel: one of them is drawn
    for (let i = this.#find(this.#from); i < this.#spans.length && this.#spans[i][0] < this.#to; i++) {
      const [start, stop, kind] = this.#spans[i];
      const left = (start - this.#from) * scale, right = (stop - this.#from) * scale;
      if (right < drawn + 0.5 && i !== this.#chosen) continue;
      pen.fillStyle = COLOURS[kind];
      pen.fillRect(left, 0, Math.max(right - left - (right - left > 4 ? 1 : 0), 0.5), height);
      if (i === this.#chosen) {
        pen.fillStyle = getComputedStyle(this.canvas).color;
        pen.fillRect(left, height - 6 * ratio, Math.max(right - left, 3), 6 * ratio);
      }
      drawn = right;
    }
  }
}
