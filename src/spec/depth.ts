import {CST, Lexer} from 'yaml';

/** Deeper than any document of ours by far, and flat enough for what recurses over it. */
export const maxDepth = 64;

/**
 * Offset of the token that nests deeper than `maxDepth`, found without recursion: yaml's composer recurses, and
 * some thousand levels (`- - - …`, a few KiB) end the whole process for want of stack. Depth by indentation alone
 * needs so many spaces that the size limit bounds it.
 */
export function tooDeepAt(text: string): number | undefined {
  let offset = 0;
  let flow = 0;
  let onLine = 0;
  for (const token of new Lexer().lex(text)) {
    switch (CST.tokenType(token)) {
      case 'flow-map-start':
      case 'flow-seq-start':
        flow++;
        break;
      case 'flow-map-end':
      case 'flow-seq-end':
        flow = Math.max(flow - 1, 0);
        break;
      case 'seq-item-ind':
      case 'explicit-key-ind':
      case 'map-value-ind':
        onLine += flow === 0 ? 1 : 0;
        break;
      case 'newline':
        onLine = 0;
        break;
      case 'doc-mode':
      case 'flow-error-end':
      case 'scalar':
        continue; // marks what follows; not in the text
      default:
    }
    if (flow + onLine > maxDepth) return offset;
    offset += token.length;
  }
  return undefined;
}
