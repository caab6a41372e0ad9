// Reports a pageview for each page shown, and a heartbeat every 15 s while the page is visible.
// The server removes comments and indentation and joins the lines: at most 1 KB is sent.
//   t script element, u endpoint, i session, p last reported path, g path to report, a current path,
//   z timer of a pageview that waits for its title, r report, q check the current page
((d,n,w,l,h)=>{
  let t=d.currentScript||d.querySelector("[data-token]"),p,g,z,
  i=crypto.getRandomValues(new Uint32Array(4)).join(""),
  u=new URL("/api/v1/beacon/"+t.dataset.token,t.src),
  r=b=>{
    z=clearTimeout(z);
    // Cut the title between code points; drop NUL and lone surrogates, which the server refuses.
    b=JSON.stringify({kind:p==g?"beat":"view",session:i,host:l.host,path:p=g,title:[...d.title.replace(/[\0\p{Cs}]/gu,"")].slice(0,300).join("")});
    // sendBeacon is missing in some web views, and returns false if the queue of the browser is full.
    n.sendBeacon?.(u,b)||fetch(u,{method:"POST",body:b,keepalive:1}).catch(e=>0)
  },
  q=e=>{
    let a=(l.pathname+("hash"in t.dataset?l.hash:"")).slice(0,2e3);
    // Frameworks call replaceState with the same URL to keep the scroll position (no heartbeat), or
    // right after pushState (the pageview still waits for its title).
    if(a==g&&(e==1||z&&!d.hidden))return;
    // The previous page was left before its title was set.
    z&&r();
    // Restored from the back/forward cache: another pageview.
    if(e?.persisted)p=0;
    g=a;
    // A page in a background tab, or a prerendered one, counts when it is first visible.
    // Frameworks set the title after the URL.
    d.hidden||d.prerendering||(p&&p!=g?z=setTimeout(r,500):r())
  };
  // Documents such as about:srcdoc have no host. A page may contain the script twice.
  if(!l.host||n.globalPrivacyControl||n.doNotTrack==1||w.doNotTrack==1||w[u])return;
  w[u]=1;
  // Storage throws in sandboxed frames and where the browser blocks site data.
  try{i=sessionStorage.mq||=i}catch{}
  ["pushState","replaceState"].map(k=>{let f=h[k];h[k]=(...a)=>q(1,f.apply(h,a))});
  ["popstate","visibilitychange","prerenderingchange","pageshow"].map(k=>addEventListener(k,e=>e.persisted==0||q(e),1));
  setInterval(q,15e3);
  q()
})(document,navigator,window,location,history);
