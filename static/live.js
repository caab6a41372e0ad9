// Puts what the stream sends in the place of the list.
const place = document.querySelector("[data-stream]");
const said = document.querySelector("[data-said]");
const stream = new EventSource(place.dataset.stream);
stream.onopen = () => { said.textContent = "live"; };
stream.onmessage = (event) => { place.innerHTML = event.data; };
stream.onerror = () => { said.textContent = "no connection; trying again"; };
