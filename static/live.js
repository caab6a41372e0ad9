// Replaces the list by the HTML that the stream sends.
const list = document.querySelector("[data-stream]");
const status = document.querySelector("[data-status]");
const stream = new EventSource(list.dataset.stream);
stream.onopen = () => { status.textContent = "live"; };
stream.onmessage = (event) => { list.innerHTML = event.data; };
stream.onerror = () => { status.textContent = "disconnected; reconnecting"; };
