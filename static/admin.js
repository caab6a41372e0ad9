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

for (const form of document.querySelectorAll("[data-upload]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const sending = form.querySelector(".sending");
    const [bar, words, button] = ["progress", "[role=status]", "button"].map((it) => form.querySelector(it));
    const fields = new FormData();
    for (const input of form.querySelectorAll("[type=file]")) {
      for (const file of input.files) fields.append(input.name, file, file.webkitRelativePath || file.name);
    }
    const request = new XMLHttpRequest();
    const ended = (said) => {
      button.disabled = false;
      words.textContent = said;
    };
    request.upload.onprogress = ({ loaded, total }) => {
      bar.max = total;
      bar.value = loaded;
      words.textContent = loaded < total ? `${Math.floor((loaded / total) * 100)} % sent` : "All sent.";
    };
    request.onload = () => {
      if (request.status < 300) return location.assign(request.responseURL);
      const page = new DOMParser().parseFromString(request.responseText, "text/html");
      ended((page.querySelector("[role=alert]") ?? page.querySelector("main")).textContent.trim());
    };
    request.onerror = () => ended("The connection broke off. Nothing was imported.");
    sending.hidden = false;
    button.disabled = true;
    request.open("POST", form.action);
    request.send(fields);
  });
}

const again = async () => {
  const part = document.querySelector("[data-again]");
  if (!part) return;
  await new Promise((wake) => setTimeout(wake, Number(part.dataset.again)));
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById(part.id);
    if (!fresh) return location.reload();
    part.replaceWith(fresh);
  } catch {
    // The server may be back in a moment.
  }
  again();
};
again();
