// Sphinx's own points for what a search finds, and more for the page on error messages.
var Scorer = {
  score: ([docname, title, anchor, description, score]) => score + (docname === "notebooks/faq" ? 50 : 0),
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
