// Makes elements. What comes from the store is only ever set as text, never as HTML.

// Properties that are functions are listeners ("onclick"), those with a "-" and `role` attributes.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function say(text) {
  document.getElementById("status").textContent = text;
}

// Runs what may fail by the person's mistake, or the server's, and says so.
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message);
    return undefined;
  }
}

export function number(value) {
  return value.toLocaleString("en");
}
