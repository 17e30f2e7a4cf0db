// Sphinx's own points for what a search finds, and more for the page on error messages.
var Scorer = {
  score: ([docname, title, anchor, description, score]) => score + (docname === "notebooks/faq" ? 50 : 0),
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};

// A letter alone, as in "key(s)", tells pages apart badly, and would be marked in every word.
var splitQuery = (query) => {
  const words = query.split(/[^\p{L}\p{N}_]+/u).filter(Boolean);
  return words.some((word) => word.length > 1) ? words.filter((word) => word.length > 1) : words;
};
