/** Workflow commands of GitHub Actions: annotations at the lines that they are about. */
import type {Place, Review} from './review.js';
import {levelOf, massPruneText, problemText, stepsOf, stepText, titleOf, visible} from './words.js';

/** https://docs.github.com/actions/reference/workflow-commands-for-github-actions */
export function githubText(review: Review): string {
  const title = `tekton-ai ${titleOf(review)}`;
  const problems = review.problems.map(problem => command('error', problemText(problem), title, problem.place));
  const steps = review.fleets.flatMap(fleet => [
    ...stepsOf(fleet).map(step =>
      command(levelOf(step) === 'note' ? 'notice' : 'warning', stepText(step), title, step.place),
    ),
    ...(fleet.massPrune ? [command('warning', massPruneText(fleet), title, fleet.place)] : []),
  ]);
  const remarks = review.remarks.map(remark => command('notice', remark, title, undefined));
  // The runner takes lines for commands wherever they come from: the last one begins with a word of ours.
  return [...problems, ...steps, ...remarks, `tekton-ai: ${inLine(review.summary)}`].map(line => `${line}\n`).join('');
}

function command(
  name: 'error' | 'warning' | 'notice',
  message: string,
  title: string,
  place: Place | undefined,
): string {
  const properties = [
    ...(place ? [['file', place.file]] : []),
    ...(place?.line === undefined ? [] : [['line', String(place.line)]]),
    ...(place?.column === undefined ? [] : [['col', String(place.column)]]),
    ['title', title],
  ];
  const text = properties.map(([key = '', value = '']) => `${key}=${escapeProperty(value)}`).join(',');
  return `::${name} ${text}::${escapeData(message)}`;
}

function escapeData(text: string): string {
  return inLine(text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A'));
}

function escapeProperty(text: string): string {
  return escapeData(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}

/** `##[…]` is the older form of a command, and is looked for anywhere in a line. */
function inLine(text: string): string {
  return visible(text).replaceAll('\n', ' ').replaceAll('##[', '# #[');
}
