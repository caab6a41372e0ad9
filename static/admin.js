// What is live: charts, and how far an upload has come. Everything else works without this.
"use strict";

for (const board of document.querySelectorAll("[data-live]")) {
  const cards = new Map([...board.querySelectorAll("[data-card]")].map((it) => [it.dataset.card, it]));
  let stream;
  const watch = () => {
    stream?.close();
    if (document.hidden) return;
    stream = new EventSource(board.dataset.live);
    stream.onmessage = ({ data }) => {
      for (const [name, html] of Object.entries(JSON.parse(data))) {
        const card = cards.get(name);
        if (card) card.innerHTML = html;
      }
    };
  };
  document.addEventListener("visibilitychange", watch);
  watch();
}
