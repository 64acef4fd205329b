// Before the first paint, so that nobody sees the other theme flash. Not a module for that reason.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const choose = () => {
    let theme = null;
    try {
      theme = localStorage.getItem("theme");
    } catch {
      // Storage is switched off: the system's theme it is.
    }
    if (theme !== "light" && theme !== "dark") theme = system.matches ? "dark" : "light";
    document.documentElement.dataset.theme = theme;
  };
  choose();
  system.addEventListener("change", choose);
})();
