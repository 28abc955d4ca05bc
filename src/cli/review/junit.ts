/** A review as JUnit's XML, as Jenkins and GitLab read it. */
import {qualifiedName} from '../view.js';
import type {Place, Review, ReviewedAction, ReviewedFleet} from './review.js';
import {changeText, massPruneText, problemText, stepText} from './words.js';

interface TestCase {
  readonly name: string;
  readonly classname: string;
  readonly place: Place | undefined;
  readonly failure?: {readonly type: string; readonly message: string; readonly text: string};
  /** What is to be known of one that did not fail. */
  readonly output?: string;
}

interface Suite {
  readonly name: string;
  readonly cases: readonly TestCase[];
}

/**
 * A suite for each fleet with a case for each specialist, and one of problems. Failed is what ends the verb with
 * another code than 0: of `diff` all that differs, else what is blocked; problems always.
 */
export async function junitText(review: Review): Promise<string> {
  const {create} = await import('xmlbuilder2');
  const suites = suitesOf(review);
  const root = create({version: '1.0', encoding: 'UTF-8', invalidCharReplacement: '\uFFFD'}).ele('testsuites', {
    name: `tekton-ai ${review.verb}`,
    ...countsOf(suites.flatMap(({cases}) => cases)),
  });
  for (const {name, cases} of suites) {
    const suite = root.ele('testsuite', {name, ...countsOf(cases)});
    for (const {name: title, classname, place, failure, output} of cases) {
      const element = suite.ele('testcase', {
        name: title,
        classname,
        ...(place && {file: place.file, ...(place.line !== undefined && {line: place.line})}),
      });
      if (failure) element.ele('failure', {type: failure.type, message: failure.message}).txt(failure.text);
      if (output !== undefined) element.ele('system-out').txt(output);
    }
  }
  return `${root.end({prettyPrint: true})}\n`;
}

function countsOf(cases: readonly TestCase[]) {
  const failures = cases.filter(({failure}) => failure !== undefined).length;
  return {tests: cases.length, failures, errors: 0};
}

function suitesOf(review: Review): readonly Suite[] {
  const problems = review.problems.map((problem): TestCase => {
    const {place, message} = problem;
    const at = place ? [place.file, place.line, place.column].filter(part => part !== undefined).join(':') : '';
    const text = [at, problemText(problem), problem.excerpt]
      .filter(part => part !== undefined && part !== '')
      .join('\n');
    return {
      name: at === '' ? message : `${at}: ${message}`,
      classname: 'problems',
      place,
      failure: {type: 'InvalidInput', message: problemText(problem), text},
    };
  });
  const fleets = review.fleets.map(fleet => ({name: qualifiedName(fleet), cases: casesOf(fleet, review)}));
  return [...(problems.length > 0 ? [{name: 'problems', cases: problems}] : []), ...fleets];
}

function casesOf(fleet: ReviewedFleet, review: Review): readonly TestCase[] {
  const classname = qualifiedName(fleet);
  if (review.verb === 'validate') return [{name: 'is valid', classname, place: fleet.place}];
  const steps = fleet.actions.map(action => caseOf(action, classname, review));
  if (!fleet.massPrune) return steps;
  const message = massPruneText(fleet);
  const failure = {type: 'MassPrune', message, text: message};
  return [...steps, {name: 'prunes no more than half', classname, place: fleet.place, failure}];
}

function caseOf(action: ReviewedAction, classname: string, {verb}: Review): TestCase {
  const place = action.place;
  const base = {name: qualifiedName(action), classname, place};
  if (action.type === 'keep') return base;
  const text = [stepText(action), ...action.changes.map(changeText)].join('\n');
  if (verb === 'diff' || action.type === 'block') {
    return {...base, failure: {type: action.type, message: stepText(action), text}};
  }
  return {...base, output: text};
}
