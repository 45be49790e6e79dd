// Asks the server. What it refuses is an Error whose message is a sentence for the person.

const token = document.querySelector('meta[name="fxengine-token"]').content;

async function answered(response) {
  const isJson = (response.headers.get("content-type") || "").startsWith("application/json");
  if (response.ok) return isJson ? response.json() : response.arrayBuffer();
  throw new Error(isJson ? (await response.json()).error : await response.text());
}

async function asked(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: was `fxengine serve` ended?");
  }
}

// Words that are empty are left away. `signal` takes the question back.
export async function get(path, words = {}, signal = undefined) {
  const given = Object.entries(words).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  return answered(await asked(query ? `${path}?${query}` : path, { signal }));
}

export async function post(path, data) {
  const headers = { "content-type": "application/json", "x-fxengine-token": token };
  return answered(await asked(path, { method: "POST", headers, body: JSON.stringify(data) }));
}

export async function upload(path, blob) {
  const headers = { "content-type": "application/octet-stream", "x-fxengine-token": token };
  return answered(await asked(path, { method: "POST", headers, body: blob }));
}
