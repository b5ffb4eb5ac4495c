import { createContext } from 'react';

import type { Attempt } from '../api/client';
import type { Data } from '../model/expressions';

/** What the last execution had, for fields that hold expressions. */
export interface LastData {
  /** Undefined until it was asked for and is there. */
  data: Data | undefined;
  /** The last attempt of each component in it. */
  attempts?: ReadonlyMap<string, Attempt> | undefined;
  /** In words, why there is none. */
  reason: string;
  /** Asks for it: it is read only when somebody writes an expression. */
  want: () => void;
}

/** Absent where there are no executions to look at. */
export const LastDataContext = createContext<LastData | undefined>(undefined);
