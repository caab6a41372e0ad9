// Reports a pageview for each page shown, and a heartbeat every 15 s while the page is visible.
// The server joins the lines, without these comments and the indentation: at most 1 KB is sent.
//   t script element, u endpoint, i session, p path reported last, g path to report, a path shown now,
//   z timer of a pageview that waits for its title, r report, q look at what is shown now
((d,n,w,l,h)=>{
  let t=d.currentScript||d.querySelector("[data-token]"),p,g,z,
  i=crypto.getRandomValues(new Uint32Array(4)).join(""),
  u=new URL("/api/v1/beacon/"+t.dataset.token,t.src),
  r=b=>{
    z=clearTimeout(z);
    // The title is cut between code points; NUL and lone surrogates, which the server refuses, are left out.
    b=JSON.stringify({kind:p==g?"beat":"view",session:i,host:l.host,path:p=g,title:[...d.title.replace(/[\0\p{Cs}]/gu,"")].slice(0,300).join("")});
    // sendBeacon is missing in some web views, and returns false when the browser's queue is full.
    n.sendBeacon?.(u,b)||fetch(u,{method:"POST",body:b,keepalive:1}).catch(e=>0)
  },
  q=e=>{
    let a=(l.pathname+("hash"in t.dataset?l.hash:"")).slice(0,2e3);
    // Frameworks call replaceState with the same address again and again: to keep the scroll
    // position (no heartbeat), or right after pushState (the title is still waited for).
    if(a==g&&(e==1||z&&!d.hidden))return;
    // The page before was left before its title was set.
    z&&r();
    // Restored from the back/forward cache: another pageview.
    if(e?.persisted)p=0;
    g=a;
    // A page in a background tab, or rendered in advance, is visited when it is first seen.
    // Frameworks set the title after the address.
    d.hidden||d.prerendering||(p&&p!=g?z=setTimeout(r,500):r())
  };
  // Documents such as about:srcdoc have no host. The script may stand in a page twice.
  if(!l.host||n.globalPrivacyControl||n.doNotTrack==1||w.doNotTrack==1||w[u])return;
  w[u]=1;
  // Storage throws in sandboxed frames and where the browser blocks site data.
  try{i=sessionStorage.mq||=i}catch{}
  ["pushState","replaceState"].map(k=>{let f=h[k];h[k]=(...a)=>q(1,f.apply(h,a))});
  ["popstate","visibilitychange","prerenderingchange","pageshow"].map(k=>addEventListener(k,e=>e.persisted==0||q(e),1));
  setInterval(q,15e3);
  q()
})(document,navigator,window,location,history);
