import { useEffect, useState, type FunctionComponent } from 'react';

import { sayProblem } from './notify';

interface Opened {
  opened: boolean;
  close: () => void;
}

/**
 * A part of the pages that is loaded when it is first opened, and kept from then on: dialogs and what they need.
 *
 * `Meanwhile` stands for it while it is on its way.
 */
export function onDemand<P extends Opened>(load: () => Promise<FunctionComponent<P>>, Meanwhile?: FunctionComponent<P>): FunctionComponent<P> {
  let loaded: FunctionComponent<P> | undefined;
  return function OnDemand(props: P) {
    const [Part, setPart] = useState<FunctionComponent<P> | undefined>(() => loaded);
    const { opened, close } = props;
    useEffect(() => {
      if (Part || !opened) return;
      load().then(
        (part) => {
          loaded = part;
          setPart(() => part);
        },
        (error: unknown) => {
          sayProblem('That part of the pages could not be loaded. Reload the page when the server can be reached', error);
          close();
        },
      );
    }, [Part, opened, close]);
    if (Part) return <Part {...props} />;
    return opened && Meanwhile ? <Meanwhile {...props} /> : null;
  };
}
