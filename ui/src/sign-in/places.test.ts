import { expect, it } from 'vitest';

import { returnPath } from './places';

const HERE = 'http://apg.test';
const HOME = '/workflow_orchestration/dashboard';

it('somebody goes back to the page they wanted to see', () => {
  for (const path of ['/workflow_orchestration/workflows', '/workflow_orchestration/executions/1?tab=logs&find=a%20b#x']) expect(returnPath(path, HERE)).toBe(path);
  expect(returnPath(`${HERE}/workflow_orchestration/schedules`, HERE)).toBe('/workflow_orchestration/schedules');
});

it('nobody is led to another place than a page of ours', () => {
  for (const wanted of [
    undefined,
    7,
    '',
    '/',
    '//evil.test/workflow_orchestration/x',
    '/\\evil.test/workflow_orchestration/x',
    'https://evil.test/workflow_orchestration/x',
    'http://apg.test:81/workflow_orchestration/x',
    'http://apg.test@evil.test/workflow_orchestration/x',
    'javascript:alert(1)//workflow_orchestration/',
    'data:text/html,/workflow_orchestration/',
    '/api/v1/docs',
    '/workflow_orchestration/..//evil.test',
    '/workflow_orchestration/%2e%2e//evil.test',
    '/workflow_orchestrations/x',
    '/workflow_orchestration/login?next=x',
    '/workflow_orchestration/setup#token',
    'http://[',
  ]) {
    expect(returnPath(wanted, HERE), String(wanted)).toBe(HOME);
  }
});
