// The keys of a file, as a tree of which only the rows in sight are in the page.
const HEIGHT = 28;
const COLUMNS = ["name", "shape", "dtype", "bytes"];

/** Build nested nodes from dotted names, but of records. Names are data: they never become keys of an object. */
export function grow(entries) {
  const root = { children: new Map() };
  for (const entry of entries) {
    let node = root;
    for (const part of entry.whole ? [entry.name] : entry.name.split(".")) {
      if (!node.children.has(part)) node.children.set(part, { part, children: new Map(), bytes: 0 });
      node = node.children.get(part);
      node.bytes += entry.bytes ?? 0;
    }
    node.entry = entry;
  }
  return root;
}

export class Tree {
  #rows = []; #open = new Set(); #selected = 0; #root;

  constructor(place, onSelect) {
    this.onSelect = onSelect;
    this.grid = element("div", { role: "treegrid", tabindex: "0", "aria-label": "Keys of the file", "aria-colcount": "4" });
    const head = element("div", { role: "row", class: "row head", "aria-rowindex": "1" });
    head.append(...COLUMNS.map((name) => element("span", { role: "columnheader", class: name === "bytes" ? "number" : "" }, name)));
    this.space = element("div", { class: "space", role: "rowgroup" });
    const top = element("div", { role: "rowgroup" });
    top.append(head);
    this.grid.append(top, this.space);
    place.replaceChildren(this.grid);
    this.grid.addEventListener("scroll", () => this.#draw());
    this.grid.addEventListener("keydown", (event) => this.#key(event));
    this.space.addEventListener("click", (event) => {
      const row = event.target.closest("[data-row]");
      if (!row) return;
      const number = Number(row.dataset.row);
      if (number === this.#selected) this.#toggle(number);
      else this.#select(number);
    });
    new ResizeObserver(() => this.#draw()).observe(this.grid);
  }

  show(entries) {
    this.#root = grow(entries);
    this.#open.clear();
    if (entries.length <= 200) this.#openAll(this.#root);
    let node = this.#root; // what has one part only is open, however many lie below
    while (node.children.size === 1) {
      [node] = node.children.values();
      this.#open.add(node);
    }
    this.#selected = 0;
    this.grid.scrollTop = 0;
    this.#flatten();
  }

  #openAll(node) {
    for (const child of node.children.values()) { this.#open.add(child); this.#openAll(child); }
  }

  #flatten() {
    this.#rows = [];
    const walk = (node, level) => {
      let place = 0;
      for (const child of node.children.values()) {
        this.#rows.push({ node: child, level, place: ++place, of: node.children.size });
        if (this.#open.has(child)) walk(child, level + 1);
      }
    };
    walk(this.#root, 1);
    this.space.style.height = `${this.#rows.length * HEIGHT}px`;
    this.grid.setAttribute("aria-rowcount", String(this.#rows.length + 1));
    this.#draw();
  }

  #draw() {
    const first = Math.max(0, Math.floor(this.grid.scrollTop / HEIGHT) - 5);
    const seen = Math.ceil(this.grid.clientHeight / HEIGHT) + 10;
    this.space.replaceChildren(...this.#rows.slice(first, first + seen).map((row, i) => this.#row(row, first + i)));
    const active = this.space.querySelector("[aria-selected=true]");
    if (active) this.grid.setAttribute("aria-activedescendant", active.id);
    else this.grid.removeAttribute("aria-activedescendant");
  }

  #row({ node, level, place, of }, number) {
    const { entry } = node;
    const row = element("div", { role: "row", class: "row", id: `row-${number}`, "data-row": String(number),
      "aria-level": String(level), "aria-posinset": String(place), "aria-setsize": String(of),
      "aria-rowindex": String(number + 2), "aria-selected": String(number === this.#selected) });
    row.style.top = `${number * HEIGHT}px`;
    const folder = node.children.size > 0;
    if (entry?.value !== undefined && !entry.dtype) row.classList.add("plain");
    if (folder) row.setAttribute("aria-expanded", String(this.#open.has(node)));
    const sign = folder ? (this.#open.has(node) ? "▾ " : "▸ ") : "  ";
    const shared = entry?.shared_with ? `  = ${entry.shared_with}` : "";
    const cells = [`${indent(level)}${sign}${visible(node.part) || '""'}${visible(shared)}`,
      entry?.shape ? `[${entry.shape.join(", ")}]` : visible(entry?.value ?? ""), entry?.dtype ?? "",
      folder || entry?.bytes !== undefined ? (entry?.bytes ?? node.bytes).toLocaleString("en") : ""];
    row.append(...cells.map((text, i) => element("span", { role: "gridcell", class: i === 3 ? "number" : "" }, text)));
    return row;
  }

  #select(number) {
    this.#selected = Math.max(0, Math.min(number, this.#rows.length - 1));
    const top = this.#selected * HEIGHT;
    if (top < this.grid.scrollTop) this.grid.scrollTop = top;
    else if (top + 3 * HEIGHT > this.grid.scrollTop + this.grid.clientHeight)
      this.grid.scrollTop = top + 3 * HEIGHT - this.grid.clientHeight;
    this.#draw();
    const node = this.#rows[this.#selected]?.node;
    if (node?.entry) this.onSelect(node.entry);
  }

  #toggle(number, wanted) {
    const node = this.#rows[number]?.node;
    if (!node?.children.size || wanted === this.#open.has(node)) return false;
    if (this.#open.has(node)) this.#open.delete(node);
    else this.#open.add(node);
    this.#flatten();
    return true;
  }

  #key(event) {
    const at = this.#selected, page = Math.floor(this.grid.clientHeight / HEIGHT) - 2;
    const move = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: this.#rows.length - 1, PageDown: at + page, PageUp: at - page };
    if (event.key in move) this.#select(move[event.key]);
    else if (event.key === "ArrowRight") this.#toggle(at, true) || this.#select(at + 1);
    else if (event.key === "ArrowLeft") this.#toggle(at, false) || this.#select(this.#parent(at));
    else if (event.key === "Enter" || event.key === " ") this.#toggle(at);
    else return;
    event.preventDefault();
  }

  #parent(number) {
    const { level } = this.#rows[number] ?? { level: 1 };
    let at = number;
    while (at > 0 && this.#rows[at].level >= level) at--;
    return at;
  }
}

/** Deep levels are told by their number: indented, their names would leave the page. */
const indent = (level) => (level <= 5 ? "  ".repeat(level - 1) : `${"  ".repeat(3)}${level} `);

/** Write out what ends a line or turns the order of letters, so that no name looks like another. */
export function visible(text) {
  return text.replace(/[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu, (sign) => `\\u{${sign.codePointAt(0).toString(16)}}`);
}

/** A number and its noun. */
export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

export function element(tag, attributes = {}, text = undefined) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== "") made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text; // never as HTML: names come from files
  return made;
}
