// Draws scenes (scene.py) into every element of class "look": the image with its hypotheses, their globe, their list.
"use strict";
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const LISTED = 12; // modes in a list before it says how many more there are
  const LABELS = [["right", [1, 0, 0]], ["left", [-1, 0, 0]], ["down", [0, 1, 0]], ["up", [0, -1, 0]],
    ["away", [0, 0, 1]], ["to the camera", [0, 0, -1]]];
  const TURN_PER_PIXEL = 0.008, TURN_PER_KEY = 0.1;

  function svg(name, attributes, ...children) {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function html(name, className, ...children) {
    const element = document.createElement(name);
    if (className) element.className = className;
    element.append(...children);
    return element;
  }

  const apply = (m, v) => m.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
  const times = (a, b) => a.map((row) => [0, 1, 2].map((k) => row[0] * b[0][k] + row[1] * b[1][k] + row[2] * b[2][k]));
  const aboutX = (t) => [[1, 0, 0], [0, Math.cos(t), -Math.sin(t)], [0, Math.sin(t), Math.cos(t)]];
  const aboutY = (t) => [[Math.cos(t), 0, Math.sin(t)], [0, 1, 0], [-Math.sin(t), 0, Math.cos(t)]];
  const AS_SEEN = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]; // as the camera sees it

  // Circles of the graticule about the camera's vertical axis, as closed lists of points.
  const GRATICULE = [];
  for (let k = 0; k < 6; k++) {
    const a = (k * Math.PI) / 6;
    GRATICULE.push(circle((t) => [Math.cos(t) * Math.cos(a), Math.sin(t), Math.cos(t) * Math.sin(a)]));
  }
  for (let k = -2; k <= 2; k++) {
    const b = (k * Math.PI) / 6;
    GRATICULE.push(circle((t) => [Math.cos(b) * Math.cos(t), Math.sin(b), Math.cos(b) * Math.sin(t)]));
  }
  function circle(at) {
    return Array.from({ length: 73 }, (_, k) => at((k * Math.PI) / 36));
  }

  function path(lines) {
    let text = "";
    for (let k = 0; k < lines.length; k += 4) text += `M${lines[k]} ${lines[k + 1]}L${lines[k + 2]} ${lines[k + 3]}`;
    return text;
  }

  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}%`;

  class Look {
    constructor(root) {
      this.root = root;
      this.turned = AS_SEEN;
      this.hot = null;
      this.hidden = new Set(); // names of objects that are not drawn
      this.index = 0;
      this.scenes = JSON.parse(root.dataset.scenes || "[]");
      this.caption = html("p", "caption");
      this.image = svg("svg", { class: "image", role: "img", "aria-label": "camera image with hypotheses" });
      this.globe = svg("svg", { class: "globe", viewBox: "-1.2 -1.2 2.4 2.4", tabindex: 0, role: "img",
        "aria-label": "posterior over rotations; arrow keys turn it" });
      this.lists = html("div", "lists");
      this.heads = new Map(); // of the lists, by the objects' names
      const reset = html("button", "reset", "as the camera sees it");
      const save = html("button", "save", "save as SVG");
      reset.onclick = () => this.turn(AS_SEEN);
      save.onclick = () => this.save();
      this.bar = html("div", "bar");
      if (this.scenes.length > 1) this.browse();
      this.bar.append(reset, save);
      const truth = this.scenes.some((scene) => scene.objects.some((object) => object.truth.length));
      const key = html("p", "key", "Globe: where a pointer on the object points, seen by the camera; colour: the turn " +
        `about it. Discs: modes, as large as their weight; dots: samples${truth ? "; rings: true poses" : ""}. ` +
        "Drag it, or use the arrow keys, to turn it. Point at a mode in the image, on the globe or in the list to see it in the others.");
      root.replaceChildren(this.caption, html("div", "panels", this.image, this.globe), this.bar, key, this.lists);
      this.listen();
      if (this.scenes.length) this.show(this.scenes[0]);
      if (root.dataset.live) this.follow(root.dataset.live);
    }

    browse() {
      const slider = html("input");
      Object.assign(slider, { type: "range", min: 0, max: this.scenes.length - 1, value: 0 });
      slider.setAttribute("aria-label", "image");
      const number = html("span", "", `1 of ${this.scenes.length}`);
      const go = (index) => {
        this.index = Math.min(Math.max(index, 0), this.scenes.length - 1);
        slider.value = this.index;
        number.textContent = `${this.index + 1} of ${this.scenes.length}`;
        this.show(this.scenes[this.index]);
      };
      const back = html("button", "back", "‹"), on = html("button", "on", "›");
      back.setAttribute("aria-label", "image before");
      on.setAttribute("aria-label", "next image");
      slider.oninput = () => go(Number(slider.value));
      back.onclick = () => go(this.index - 1);
      on.onclick = () => go(this.index + 1);
      this.bar.append(back, slider, on, number);
    }

    async follow(address) {
      for (let number = 0; ; ) {
        try {
          const answer = await fetch(`${address}?after=${number}`);
          if (answer.status === 200) {
            const { number: newest, scene } = await answer.json();
            number = newest;
            this.show(scene);
          } else if (answer.status === 204) {
            if (!number) this.caption.textContent = "waiting for hypotheses";
          } else throw new Error(answer.statusText);
        } catch {
          number = 0;
          this.caption.textContent = "lie-picard view does not answer: is it still running? Trying again";
          await new Promise((done) => setTimeout(done, 1000));
        }
      }
    }

    listen() {
      let last = null;
      this.globe.onpointerdown = (event) => {
        last = [event.clientX, event.clientY];
        this.globe.setPointerCapture(event.pointerId);
        this.globe.classList.add("turning");
      };
      this.globe.onpointermove = (event) => {
        if (!last) return;
        const [x, y] = last;
        last = [event.clientX, event.clientY];
        this.turn(times(aboutX(-(last[1] - y) * TURN_PER_PIXEL), times(aboutY(-(last[0] - x) * TURN_PER_PIXEL), this.turned)));
      };
      this.globe.onpointerup = this.globe.onpointercancel = () => {
        last = null;
        this.globe.classList.remove("turning");
      };
      this.globe.onkeydown = (event) => {
        const turns = { ArrowLeft: aboutY(TURN_PER_KEY), ArrowRight: aboutY(-TURN_PER_KEY), ArrowUp: aboutX(TURN_PER_KEY),
          ArrowDown: aboutX(-TURN_PER_KEY) };
        if (!(event.key in turns)) return;
        event.preventDefault();
        this.turn(times(turns[event.key], this.turned));
      };
      this.root.addEventListener("mouseover", (event) => {
        const owner = event.target.closest("[data-mode]");
        this.highlight(owner ? owner.dataset.mode : null);
      });
      this.root.addEventListener("mouseleave", () => this.highlight(null));
    }

    show(scene) {
      this.scene = scene;
      const missing = (scene.missing || []).map((name) => `${name}: not found`);
      this.caption.textContent = [scene.caption, ...missing].filter(Boolean).join("; ");
      this.drawImage(scene);
      this.drawGlobe(scene);
      this.drawLists(scene);
      this.highlight(this.hot);
    }

    drawImage(scene) {
      const thick = Math.min(scene.part[2], scene.part[3]) / 300;
      this.image.setAttribute("viewBox", scene.part.join(" "));
      this.image.replaceChildren(svg("image", { href: scene.image, width: scene.width, height: scene.height }));
      const line = { fill: "none", "stroke-linecap": "round" };
      scene.objects.forEach((object, o) => {
        if (this.hidden.has(object.name)) return;
        const most = Math.max(...object.modes.map((mode) => mode.weight));
        object.modes.map((mode, m) => [mode, m]).reverse().forEach(([mode, m]) => {
          const opacity = Math.max(0.2, mode.weight / most);
          this.image.append(svg("g", { "data-mode": `${o}.${m}`, "data-opacity": opacity, opacity },
            svg("path", { ...line, d: path(mode.rim), class: "halo", stroke: "#000", "stroke-width": 3 * thick, opacity: 0 }),
            svg("path", { ...line, d: path(mode.inner), class: "line", stroke: object.colour, "data-stroke": object.colour,
              "data-hue": mode.hue, "stroke-width": thick, opacity: 0.6 }),
            svg("path", { ...line, d: path(mode.rim), class: "line", stroke: object.colour, "data-stroke": object.colour,
              "data-hue": mode.hue, "stroke-width": 1.5 * thick }),
            svg("path", { ...line, d: path(mode.rim), stroke: "#000", "stroke-opacity": 0, "stroke-width": 8 * thick,
              "pointer-events": "stroke" })));
        });
        if (object.true_rim.length) {
          this.image.append(svg("path", { ...line, d: path(object.true_rim), stroke: "#fff", "stroke-width": thick,
            "pointer-events": "none" }));
        }
      });
    }

    drawGlobe(scene) {
      const pale = { fill: "none", "stroke-width": 0.004 };
      this.backLines = svg("path", { ...pale, stroke: "#e3e6e9" });
      this.frontLines = svg("path", { ...pale, stroke: "#b6bdc4" });
      this.back = svg("g", {});
      this.front = svg("g", {});
      this.dots = [];
      scene.objects.forEach((object, o) => {
        if (this.hidden.has(object.name)) return;
        const most = Math.max(...object.modes.map((mode) => mode.weight));
        const many = object.truth.length > 60;
        for (const { at, hue } of object.truth) {
          this.dot(at, 0, { r: many ? 0.035 : 0.07, fill: "none", stroke: hue, "stroke-width": many ? 0.008 : 0.018 });
        }
        object.modes.forEach((mode, m) => {
          const r = Math.max(0.022, 0.058 * Math.sqrt(mode.weight / most));
          this.dot(mode.at, 1, { r, fill: mode.hue, stroke: "#222", "stroke-width": 0.006, "data-mode": `${o}.${m}` });
        });
        for (const { at, hue } of object.samples) {
          this.dot(at, 2, { r: 0.011, fill: hue, stroke: "#222", "stroke-width": 0.003, "pointer-events": "none" });
        }
      });
      this.labels = LABELS.map(([text, at]) => {
        const label = svg("text", { "font-size": 0.055, "font-family": "system-ui, sans-serif", fill: "#7a828a",
          "text-anchor": "middle", "pointer-events": "none" }, text);
        return { label, at };
      });
      this.globe.replaceChildren(svg("circle", { r: 1, fill: "#fbfcfd", stroke: "#9aa2aa", "stroke-width": 0.006 }), this.backLines,
        this.back, this.frontLines, ...this.labels.map(({ label }) => label), this.front);
      this.turn(this.turned);
    }

    dot(at, level, attributes) {
      this.dots.push({ at, level, element: svg("circle", attributes) });
    }

    turn(turned) {
      this.turned = turned;
      if (!this.dots) return;
      const lines = { true: "", false: "" };
      for (const points of GRATICULE) {
        let before = null;
        for (const point of points) {
          const [x, y, z] = apply(turned, point), front = z < 0;
          const here = `${x.toFixed(3)} ${y.toFixed(3)}`;
          if (before) lines[front] += `M${before}L${here}`;
          before = here;
        }
      }
      this.frontLines.setAttribute("d", lines[true]);
      this.backLines.setAttribute("d", lines[false]);
      const behind = [], before = [[], [], []];
      for (const { at, level, element } of this.dots) {
        const [x, y, z] = apply(turned, at);
        element.setAttribute("cx", x.toFixed(4));
        element.setAttribute("cy", y.toFixed(4));
        (z < 0 ? before[level] : behind).push(element);
        element.dataset.opacity = z < 0 ? 1 : 0.25;
        element.setAttribute("opacity", element.classList.contains("hot") ? 1 : element.dataset.opacity);
      }
      this.back.replaceChildren(...behind);
      this.front.replaceChildren(...before.flat());
      for (const { label, at } of this.labels) {
        const [x, y, z] = apply(turned, at);
        const out = Math.hypot(x, y) > 0.9 ? 1.1 : 1;
        label.setAttribute("x", (x * out).toFixed(3));
        label.setAttribute("y", (y * out + 0.02).toFixed(3));
        label.setAttribute("opacity", z > 0.5 ? 0.25 : 1);
      }
    }

    drawLists(scene) {
      // A head that is there stays: a live scene that comes while a box is clicked must not take it away.
      const names = scene.objects.map((object) => object.name);
      if (names.join("\n") !== [...this.heads.keys()].join("\n")) {
        this.heads = new Map(scene.objects.map((object) => [object.name, this.head(object)]));
        this.lists.replaceChildren(...[...this.heads.values()].map(({ section }) => section));
      }
      scene.objects.forEach((object, o) => {
        const told = [`${object.count} samples`, object.ambiguity.replace("_", " "), object.state];
        if (object.presence !== null) told.push(`presence ${object.presence.toFixed(2)}`);
        if (object.likeness !== null) told.push(`likeness ${object.likeness.toFixed(2)}`);
        const most = Math.max(...object.modes.map((mode) => mode.weight));
        const rows = object.modes.slice(0, LISTED).map((mode, m) => {
          const disc = html("i"), share = html("b");
          disc.style.background = mode.hue;
          share.style.width = `${(100 * mode.weight) / most}%`;
          const spread = mode.spread === null ? "" : `±${mode.spread.toFixed(1)}° · `;
          const row = html("div", "mode", disc, html("span", "", `${mode.id}: ${percent(mode.weight)}`), share,
            html("span", "", `${spread}${mode.samples} sample${mode.samples === 1 ? "" : "s"}`));
          row.dataset.mode = `${o}.${m}`;
          return row;
        });
        const more = object.modes.length - rows.length + object.hidden;
        if (more > 0) rows.push(html("div", "more", `and ${more} more`));
        const head = this.heads.get(object.name);
        head.drawn.checked = !this.hidden.has(object.name);
        head.swatch.style.background = object.colour;
        head.told.textContent = told.join(", ");
        head.modes.replaceChildren(...rows);
      });
    }

    // An object's part of the lists, still without its modes.
    head(object) {
      const drawn = html("input"), swatch = html("u"), told = html("small"), modes = html("div");
      Object.assign(drawn, { type: "checkbox", title: "draw it" });
      drawn.onchange = () => {
        this.hidden[drawn.checked ? "delete" : "add"](object.name);
        this.show(this.scene);
      };
      const label = html("label", "", drawn, swatch, `${object.name} `);
      return { drawn, swatch, told, modes, section: html("section", "", html("h4", "", label, told), modes) };
    }

    highlight(mode) {
      this.hot = mode;
      for (const element of this.root.querySelectorAll("[data-mode]")) {
        const hot = element.dataset.mode === mode;
        element.classList.toggle("hot", hot);
        if (element.tagName === "circle") {
          element.setAttribute("stroke-width", hot ? 0.02 : 0.006);
          element.setAttribute("opacity", hot ? 1 : element.dataset.opacity);
        }
        if (element.tagName !== "g") continue;
        element.setAttribute("opacity", hot ? 1 : mode ? 0.12 : element.dataset.opacity);
        element.querySelector(".halo").setAttribute("opacity", hot ? 0.7 : 0);
        for (const line of element.querySelectorAll(".line")) {
          line.setAttribute("stroke", hot ? line.dataset.hue : line.dataset.stroke);
        }
      }
    }

    // Both panels as one picture, for a paper.
    save() {
      const [, , width, height] = this.image.getAttribute("viewBox").split(" ").map(Number);
      const picture = svg("svg", { xmlns: NS, viewBox: `0 0 ${width + height} ${height}` });
      const left = this.image.cloneNode(true), right = this.globe.cloneNode(true);
      for (const [part, x, wide] of [[left, 0, width], [right, width, height]]) {
        for (const [key, value] of Object.entries({ x, y: 0, width: wide, height })) part.setAttribute(key, value);
        picture.append(part);
      }
      const file = new Blob([new XMLSerializer().serializeToString(picture)], { type: "image/svg+xml" });
      const link = html("a");
      link.href = URL.createObjectURL(file);
      link.download = "hypotheses.svg";
      link.click();
      URL.revokeObjectURL(link.href);
    }
  }

  for (const element of document.querySelectorAll(".look")) {
    // Without a scene the pictures in it stay.
    if (element.dataset.live || element.dataset.scenes !== "[]") new Look(element);
  }
})();
