/**
 * How many tokens a request will be, where the provider doesn't count. No tokenizer is loaded: each is megabytes of
 * tables for one family of models, and whoever runs a model may run any.
 */
import type {ChatMessage, ChatRequest} from './provider.js';

/**
 * Input tokens of `request`, meant to be too many rather than too few, so that what fits by it does fit.
 *
 * The margin is in it; callers add none. Measured against the tokenizers of GPT-4 (cl100k), GPT-4o (o200k) and Llama 3
 * on 35 samples: prose in twelve languages, source code, JSON, YAML, logs, CSV, diffs, hexadecimal, base64, emoji,
 * formulas. Above the highest of the three it is by 10–30 % for English, German, French, Russian, Chinese and Japanese
 * prose and by 30–80 % for code, JSON and lists of numbers. Newer tokenizers pack some scripts much better than older
 * ones (Greek, Arabic, Hindi, Thai): there it says up to three times what the newest count. It is too low for words as
 * long as Finnish ones (10 %), base64 (25 %) and letters without any sense (passwords by the thousand: a third of the
 * truth). The vocabularies of 32,000 tokens of Llama 2 and Mistral 7B are met within 10 % for all but Finnish (20 %),
 * Korean (30 %), base64 (30 %) and formulas (20 %), where it is too low for them.
 */
export function estimateTokens(request: ChatRequest): number {
  const {system, messages, tools = [], responseFormat} = request;
  const formats = responseFormat?.type === 'schema' ? [JSON.stringify(responseFormat.schema)] : [];
  return Math.ceil(
    requestTokens +
      estimateTextTokens(system) +
      messages.reduce((sum, message) => sum + estimateMessageTokens(message), 0) +
      (tools.length > 0 ? toolsTokens : 0) +
      [...tools.map(tool => JSON.stringify(tool)), ...formats].reduce((sum, t) => sum + estimateTextTokens(t), 0),
  );
}

/** What one message adds to a request, its frame in the model's template included. */
export function estimateMessageTokens(message: ChatMessage): number {
  const calls = message.role === 'assistant' ? (message.toolCalls ?? []) : [];
  return (
    messageTokens +
    estimateTextTokens(message.content) +
    calls.reduce((sum, {name, arguments: json}) => sum + messageTokens + estimateTextTokens(name + json), 0)
  );
}

/** Begin of text, frame of the system prompt, opening of the answer. */
const requestTokens = 12;
/** ChatML and Llama 3 take 4 and 5 tokens for the frame of a message. */
const messageTokens = 6;
/** What templates say around a list of tools: Llama 3.1's, the longest that is known, takes 90. */
const toolsTokens = 96;

/**
 * Tokens of a text, fractions included, so that parts can be added up.
 *
 * One pass over the characters, for a conversation of many MB may have to be looked at: a word is a token up to four
 * letters and another for each three more; digits, signs and characters of other scripts count each by itself; one
 * space before a word is a part of it.
 */
export function estimateTextTokens(text: string): number {
  let tokens = 0;
  let letters = 0;
  let before: number = none;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    const kind = code < 128 ? (ascii[code] ?? sign) : none;
    if (kind === lower && (before === lower || (before === upper && letters === 1))) {
      letters += 1;
    } else if (kind === upper && before === upper) {
      letters += capitalLetter;
    } else {
      if (letters > 0) tokens += wordTokens(letters);
      letters = kind === lower || kind === upper ? 1 : 0;
      if (kind === space) tokens += before === space || before === line ? furtherSpace : 0;
      else if (kind === sign) tokens += before === sign ? furtherSign : firstSign;
      else if (kind === digit || kind === line) tokens += 1;
      else if (kind === none) tokens += foreign(code);
    }
    before = kind;
  }
  return letters > 0 ? tokens + wordTokens(letters) : tokens;
}

const wholeWord = 4;
const lettersPerToken = 3;
/** In letters: words in capitals are cut into shorter pieces. */
const capitalLetter = 1.7;
const furtherSpace = 0.2;
/** Signs that often stand together (`": "`, `);`) are one token. */
const firstSign = 0.9;
const furtherSign = 0.5;

function wordTokens(letters: number): number {
  return letters <= wholeWord ? 1 : 1 + (letters - wholeWord) / lettersPerToken;
}

/** Beyond ASCII: one unit of UTF-16. */
function foreign(code: number): number {
  if (code < 0x250) return 1; // a Latin letter with a mark; it also cuts the word that it stands in
  if (code >= 0x400 && code < 0x530) return 0.6; // Cyrillic
  if (code < 0x2000) return 1.2; // Greek, Hebrew, Arabic, the scripts of India and South-East Asia
  if (code < 0x2e80) return 1.9; // arrows, mathematics
  if ((code >= 0xd800 && code < 0xe000) || code >= 0xfe00) return 1.7; // emoji, mostly: a half of one each
  return code >= 0xac00 ? 1.5 : 1.3; // Korean; Chinese and Japanese
}

const [none, lower, upper, digit, space, line, sign] = [0, 1, 2, 3, 4, 5, 6];

const ascii = Uint8Array.from({length: 128}, (_, code) => {
  const character = String.fromCharCode(code);
  if (/[a-z]/.test(character)) return lower;
  if (/[A-Z]/.test(character)) return upper;
  if (/\d/.test(character)) return digit;
  if (character === ' ') return space;
  return /[\n\r\t]/.test(character) ? line : sign;
});
