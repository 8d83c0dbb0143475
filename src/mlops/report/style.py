"""The style sheet of every report. Colours are variables, so figures follow the theme as well."""

from __future__ import annotations

CSS = """
:root{color-scheme:light dark;--bg:#fbfaf8;--fg:#22262b;--soft:#666d76;--line:#dedbd5;--card:#fff;--code:#f1efea;
--good:#1e6b3a;--goodbg:#e2f2e6;--warn:#7a4d00;--warnbg:#fdf0d2;--bad:#a32020;--badbg:#fbe4e2;--plainbg:#eceae6;
--a:#35618e;--b:#c9682b;--c:#5b8a3c;--d:#8156a0;--e:#8a7a2c;--f:#3f8a8a;--grid:#e6e3dd}
@media screen and (prefers-color-scheme:dark){:root{--bg:#16181b;--fg:#e6e4e0;--soft:#a0a5ac;--line:#34383d;
--card:#1e2125;--code:#24282d;--good:#8fd6a5;--goodbg:#1d3526;--warn:#f0c36a;--warnbg:#3a2e14;--bad:#f79a92;--badbg:#42201e;
--plainbg:#2c3035;--a:#7fb0e0;--b:#e89a62;--c:#9cc97a;--d:#c09ade;--e:#d3c26a;--f:#7cc8c8;--grid:#2d3136}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--fg);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main,footer{max-width:62rem;margin:0 auto;padding:1.25rem}
h1{font-size:1.75rem;line-height:1.2;letter-spacing:-.01em;margin:.6rem 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;line-height:1.3;margin:2.4rem 0 .5rem;padding-top:1rem;border-top:1px solid var(--line);
overflow-wrap:anywhere}
p{margin:.5rem 0;max-width:46rem;overflow-wrap:anywhere}
.summary{font-size:1.1rem}
.note,.small,footer,caption{color:var(--soft);font-size:.875rem}
footer{border-top:1px solid var(--line);overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;width:100%;font-size:.925rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.2rem 0}
table.wide{min-width:46rem}
th,td{text-align:left;vertical-align:top;padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft);white-space:nowrap}
.n{text-align:right;white-space:nowrap}
.badge{display:inline-block;padding:.05rem .55rem;border-radius:1rem;font-size:.825rem;font-weight:600;
background:var(--plainbg);color:var(--fg);white-space:nowrap}
.badge.good{background:var(--goodbg);color:var(--good)}
.badge.warn{background:var(--warnbg);color:var(--warn)}
.badge.bad{background:var(--badbg);color:var(--bad)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1rem 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.7rem .9rem;min-width:0}
.label{color:var(--soft);font-size:.85rem}
.value{font-size:1.4rem;font-weight:650;line-height:1.3;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem;margin:1rem 0}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.7rem;min-width:0}
figcaption{font-weight:600;font-size:.95rem;margin:0 0 .35rem;overflow-wrap:anywhere}
figure .note{font-weight:400;margin:.3rem 0 0}
svg{display:block;width:100%;height:auto;max-width:34rem}
svg text{font-size:12px;fill:var(--soft);font-family:inherit}
svg .t0{fill:var(--fg)}
svg .grid{stroke:var(--grid);stroke-width:1}
svg .axis{stroke:var(--soft);stroke-width:1}
svg .limit{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:5 4}
svg .limittext{fill:var(--bad)}
svg .diagonal{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 4}
svg .s0{fill:var(--a)} svg .s1{fill:var(--b)} svg .s2{fill:var(--c)} svg .s3{fill:var(--d)}
svg .s4{fill:var(--e)} svg .s5{fill:var(--f)}
svg .l0{stroke:var(--a)} svg .l1{stroke:var(--b)} svg .l2{stroke:var(--c)} svg .l3{stroke:var(--d)}
svg .l4{stroke:var(--e)} svg .l5{stroke:var(--f)}
svg .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .hot{fill:var(--bad)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:.8rem 0;font-size:.925rem}
dt{color:var(--soft)} dd{margin:0;overflow-wrap:anywhere}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.86em;background:var(--code);
border-radius:.3rem}
code{padding:.1em .35em;overflow-wrap:anywhere} pre{padding:.8rem;overflow-x:auto} pre code{padding:0;background:none}
details{margin:.6rem 0} summary{cursor:pointer;font-weight:600}
a{color:var(--a)}
textarea,button{font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);border-radius:.4rem;
padding:.5rem .8rem} textarea{width:100%;max-width:46rem} button{cursor:pointer;font-weight:600}
@media (max-width:34rem){main,footer{padding:.9rem} h1{font-size:1.4rem} dl{grid-template-columns:1fr}
dd{margin-bottom:.4rem} svg text{font-size:15px} figure{padding:.5rem}
.stack thead{display:none} .stack tr{display:grid;grid-template-columns:1fr auto;gap:.1rem .75rem;padding:.5rem 0;
border-bottom:1px solid var(--line)} .stack td{border:0;padding:0;overflow-wrap:anywhere}
.stack td:first-child{font-weight:600} .stack td:last-child{grid-column:1/-1}}
@media print{:root{color-scheme:light} body{background:#fff} figure,.card{break-inside:avoid} .scroll{overflow:visible}}
"""
