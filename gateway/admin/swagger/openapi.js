"use strict";
// Requests cannot be tried here: the gateway's listeners are other origins than this
// page, which may talk to nobody but the admin API.
function show(route) {
  const url = encodeURIComponent(route) + ".json";
  document.getElementById("document").href = url;
  SwaggerUIBundle({ url, dom_id: "#ui", supportedSubmitMethods: [], validatorUrl: null, deepLinking: false });
}
fetch("routes").then((answer) => answer.json()).then((routes) => {
  const select = document.getElementById("route");
  for (const route of routes) select.add(new Option(route, route));
  select.addEventListener("change", () => show(select.value));
  if (routes.length > 0) show(routes[0]);
  else document.getElementById("ui").textContent = "No route has an OpenAPI document.";
});
