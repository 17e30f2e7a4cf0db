// What the checks found, as tables. Each function returns elements; all text from files is text.
import { count, element, visible } from "./tree.js";
import { explain } from "./words.js";

const NAMES = /^(imports|calls) /u; // a finding that begins so names something to explain
const MOST_ROWS = 500; // of a table; the JSON has all

export function auditTable(found) {
  const rows = [...found.findings.map(([verdict, where, reason]) => [verdict, where || "the file", reason, NAMES.test(reason) ? explain(reason.replace(NAMES, "")) : ""]),
    ...found.calls.map((call) => ["it would call", "", call, explain(call)]),
    ...found.imports.map((name) => ["it would import", "", name, explain(name)])];
  return table(["what", "where", "name", "in words"], rows, "What loading would import and call");
}

export function verified(found) {
  const kind = { sound: "good", damaged: "bad" }[found.verdict] ?? "warn";
  const rows = found.findings.map((finding) => [finding.severity, finding.record ?? "the directory", finding.tensors.join(", "), finding.problem]);
  return [element("p", { class: kind }, `${found.verdict}: ${count(found.records_checked, "record")} compared with their checksums`),
    ...table(["severity", "record", "tensors", "problem"], rows, "Findings of the checksums")];
}

export function diagnosis(found) {
  const rows = found.findings.map((finding) => [finding.severity, finding.topic, finding.what, finding.remedy]);
  return [element("p", { class: found.status ? "bad" : "good" }, `${found.role}: ${found.verdict}`),
    ...table(["severity", "topic", "found", "remedy"], rows, "The doctor's findings")];
}

export function differences(found) {
  const rows = found.differences.map((change) => [change.name, change.what, change.detail, change.largest ?? ""]);
  const left = found.not_compared.length ? `; not compared: ${found.not_compared.join(", ")}` : "";
  return [element("p", { class: found.status ? "warn" : "good" },
    `${found.verdict}: ${count(found.tensors, "tensor")} and ${count(found.values ?? "no", "value")} compared${left}`),
  ...table(["name", "differs in", "how", "largest difference"], rows, "Differences")];
}

/** Return a table that scrolls by itself, in a list; nothing if it has no rows, no column that is empty. */
function table(headers, rows, caption) {
  if (!rows.length) return [];
  const box = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption });
  const made = element("table"), head = element("tr"), body = element("tbody"), top = element("thead");
  const filled = (_, column) => rows.some((row) => row[column] !== "");
  head.append(...headers.filter(filled).map((text) => element("th", { scope: "col" }, text)));
  top.append(head);
  for (const row of rows.slice(0, MOST_ROWS)) {
    const line = element("tr");
    line.append(...row.filter(filled).map((text) => element("td", {}, visible(String(text)))));
    body.append(line);
  }
  made.append(top, body);
  box.append(made);
  if (rows.length > MOST_ROWS) box.append(element("p", {}, `… and ${(rows.length - MOST_ROWS).toLocaleString("en")} more, in the JSON`));
  return [box];
}
