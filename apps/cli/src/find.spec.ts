import { describe, expect, it } from 'vitest';
import { pick } from './find.js';

const KIND = {
  one: 'VM',
  many: 'VMs',
  code: 'vm',
  list: 'vms list',
  nameOf: ({ name }: { name: string }) => name,
  idsOf: ({ id }: { id: string }) => [id],
};
const VMS = [
  { id: '1', name: 'web' },
  { id: '2', name: 'Web' },
  { id: '3', name: 'db' },
  { id: '4', name: 'db' },
  { id: '5', name: '3' },
];

describe('pick', () => {
  it('takes an id before a name, and exact letters before others', () => {
    expect(pick(KIND, VMS, '3').id).toBe('3');
    expect(pick(KIND, VMS, 'Web').id).toBe('2');
    expect(pick(KIND, [VMS[0]!], 'WEB').id).toBe('1');
  });

  it('lists the ids when a name is ambiguous', () => {
    expect(() => pick(KIND, VMS, 'db')).toThrow(expect.objectContaining({ code: 'vm.ambiguous', details: { ids: ['3', '4'] } }));
    expect(() => pick(KIND, VMS, 'db')).toThrow('2 VMs are called db; say which by its id: 3, 4');
  });

  it('says what else there is when nothing is found', () => {
    expect(() => pick(KIND, VMS, 'we')).toThrow('there is no VM we; did you mean web, Web?');
    expect(() => pick(KIND, VMS, 'x')).toThrow(expect.objectContaining({ code: 'vm.not-found', kind: 'not-found' }));
  });
});
