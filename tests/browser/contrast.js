// Texts within arguments[0] whose contrast with what lies under them is below WCAG 2's AA: [contrast, colours, text].
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
function rgba(color) {  // any CSS colour as [r, g, b, a]
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}
const over = (top, low) => [0, 1, 2].map((i) => top[i] * top[3] + low[i] * (1 - top[3])).concat([1]);
const part = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
const light = (c) => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);

function under(element) {  // the colour behind an element: of its ancestors, and in a picture of what it lies on
  const layers = [];
  for (let e = element; e; e = e.parentElement) {
    if (e instanceof SVGElement && e.tagName === "text") {
      const [t, last] = [e.getBBox(), []];
      const [x, y] = [t.x + t.width / 2, t.y + t.height / 2];
      for (const box of e.ownerSVGElement.querySelectorAll("rect")) {
        const b = box.getBBox();
        if (b.x <= x && x <= b.x + b.width && b.y <= y && y <= b.y + b.height) {
          const style = getComputedStyle(box), color = rgba(style.fill);
          last.unshift([...color.slice(0, 3), color[3] * style.fillOpacity]);
        }
      }
      layers.push(...last);
    } else if (!(e instanceof SVGElement)) {
      layers.push(rgba(getComputedStyle(e).backgroundColor));
    }
  }
  return layers.reduceRight((low, top) => over(top, low), [255, 255, 255, 1]);
}

const faint = [];
for (const root of document.querySelectorAll(arguments[0])) {
  for (const element of [root, ...root.querySelectorAll("*")]) {
    const words = [...element.childNodes].filter((n) => n.nodeType === 3 && n.textContent.trim());
    if (!words.length || !element.getClientRects().length || /^(style|title|desc|script)$/.test(element.tagName)) continue;
    const style = getComputedStyle(element), back = under(element);
    const ink = over(rgba(element instanceof SVGElement ? style.fill : style.color), back);
    const [low, high] = [light(ink), light(back)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5)) faint.push([contrast, `${ink} on ${back}`, words[0].textContent.slice(0, 40)]);
  }
}
return faint;
