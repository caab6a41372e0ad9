(function (d, n, w) {
  var tag = d.currentScript, t = tag && tag.dataset.token, path, id, s;
  if (!t || n.globalPrivacyControl || n.doNotTrack == 1 || w.doNotTrack == 1) return;
  var url = new URL("/api/v1/beacon/" + t, tag.src).href;
  try { s = sessionStorage; id = s.mq; } catch (e) {}
  if (!id) {
    id = Array.from(crypto.getRandomValues(new Uint8Array(16)), function (b) { return (b + 256).toString(16).slice(1); }).join("");
    try { s.mq = id; } catch (e) {}
  }
  function send() {
    if (d.hidden) return;
    var l = location, kind = l.pathname == path ? "beat" : "view";
    path = l.pathname;
    n.sendBeacon(url, JSON.stringify({ kind: kind, session: id, host: l.host, path: path, title: d.title.slice(0, 300) }));
  }
  send();
  setInterval(send, 15000);
  d.addEventListener("visibilitychange", send);
  w.addEventListener("popstate", send);
})(document, navigator, window);
