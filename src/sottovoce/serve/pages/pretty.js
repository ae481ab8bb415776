// JSON with a line for each value. Numbers are not read, since a browser would round long ones.

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The same JSON, easier to read; any other text as it is. */
export function pretty(text) {
  if (!isJson(text)) return text;
  const tokens = text.match(TOKEN);
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  return tokens
    .map((token, i) => {
      if (token === "{" || token === "[") {
        depth += 1;
        return "}]".includes(tokens[i + 1]) ? token : token + line();
      }
      if (token === "}" || token === "]") {
        depth -= 1;
        return "{[".includes(tokens[i - 1]) ? token : line() + token;
      }
      if (token === ",") return token + line();
      return token === ":" ? ": " : token;
    })
    .join("");
}
