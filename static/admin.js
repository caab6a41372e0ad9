// Live charts and upload progress. All pages work without scripts.
"use strict";

for (const dashboard of document.querySelectorAll("[data-live]")) {
  const cards = new Map([...dashboard.querySelectorAll("[data-card]")].map((it) => [it.dataset.card, it]));
  let stream;
  const connect = () => {
    stream?.close();
    if (document.hidden) return;
    stream = new EventSource(dashboard.dataset.live);
    stream.onmessage = ({ data }) => {
      for (const [name, html] of Object.entries(JSON.parse(data))) {
        const card = cards.get(name);
        if (card) card.innerHTML = html;
      }
    };
  };
  document.addEventListener("visibilitychange", connect);
  connect();
}

for (const form of document.querySelectorAll("[data-upload]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const sending = form.querySelector(".sending");
    const [bar, status, button] = ["progress", "[role=status]", "button"].map((it) => form.querySelector(it));
    const fields = new FormData();
    for (const input of form.querySelectorAll("[type=file]")) {
      for (const file of input.files) fields.append(input.name, file, file.webkitRelativePath || file.name);
    }
    const request = new XMLHttpRequest();
    const showResult = (message) => {
      button.disabled = false;
      status.textContent = message;
    };
    request.upload.onprogress = ({ loaded, total }) => {
      bar.max = total;
      bar.value = loaded;
      status.textContent = loaded < total ? `${Math.floor((loaded / total) * 100)} % sent` : "Upload complete.";
    };
    request.onload = () => {
      if (request.status < 300) return location.assign(request.responseURL);
      const page = new DOMParser().parseFromString(request.responseText, "text/html");
      showResult((page.querySelector("[role=alert]") ?? page.querySelector("main")).textContent.trim());
    };
    request.onerror = () => showResult("The connection was lost. Nothing was imported.");
    sending.hidden = false;
    button.disabled = true;
    request.open("POST", form.action);
    request.send(fields);
  });
}

const reloadPart = async () => {
  const part = document.querySelector("[data-reload-ms]");
  if (!part) return;
  await new Promise((wake) => setTimeout(wake, Number(part.dataset.reloadMs)));
  try {
    const response = await fetch(location.href);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.getElementById(part.id);
    if (!fresh) return location.reload();
    part.replaceWith(fresh);
  } catch {
    // The server may be restarting.
  }
  reloadPart();
};
reloadPart();
