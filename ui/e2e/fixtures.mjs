// Workflows that the tests and the pictures use.
export const GREET = `workflow: v1
name: greet
description: Greets somebody.
parameters:
  who: { type: string, default: world, description: Who is greeted }
components:
  # Said first.
  words:
    type: set_variables
    config: { values: { text: 'Hello, \${{ parameters.who }}!' } }
  say:
    type: log
    needs: [words]
    config: { message: '\${{ components.words.output.text }}' }
`;

export const INVOICE = `workflow: v1
name: invoice-check
description: Reads an invoice, checks its sum, and refuses what does not add up.
parameters:
  invoice: { type: string, default: INV-7 }
components:
  read:
    type: set_variables
    config: { values: { total: 120, lines: [50, 60] } }
  sums:
    type: map
    needs: [read]
    config: { rows: '\${{ components.read.output.lines }}', expression: item * 1 }
  adds_up:
    type: decision
    needs: [sums]
    config: { condition: components.read.output.total == 110 }
  book:
    type: log
    needs: [adds_up.true]
    config: { message: 'Booked \${{ parameters.invoice }}' }
  refuse:
    type: fail
    needs: [adds_up.false]
    config: { message: 'The lines add up to 110, the invoice says 120', class: user.sum }
`;

export const EXPENSE = `workflow: v1
name: expense-approval
description: Asks for a decision and for data, and pays.
parameters:
  amount: { type: number, required: true, description: In euros }
  who: { type: string, default: Ada }
components:
  large:
    type: decision
    config: { condition: parameters.amount > 100 }
  ask:
    type: approval
    title: Ask the manager
    needs: [large.true]
    config: { assignees: [owner], requester_may_decide: true, message: 'Pay \${{ parameters.amount }} to \${{ parameters.who }}?', expires: 2d }
  details:
    type: human_task
    title: Payment details
    needs: [ask.approved]
    config:
      assignees: [owner]
      title: Payment details
      instructions: Fill in where the money goes
      form:
        type: object
        required: [iban]
        properties:
          iban: { type: string, title: IBAN, minLength: 4 }
          kind: { type: string, enum: [travel, food, hardware] }
  pay:
    type: log
    needs: [details.submitted, large.false]
    join: any
    config: { message: 'Paid \${{ parameters.amount }}' }
`;

export const NIGHTLY = `workflow: v1
name: nightly-import
title: Nightly import
description: Imports regions side by side, publishes, and tidies up in any case.
components:
  begin:
    type: start
  regions:
    type: loop
    title: Each region
    needs: [begin]
    config: { items: [eu, us, apac, latam], max_parallel: 2 }
    components:
      fetch:
        type: delay
        config: { for: 700ms }
      store:
        type: set_variables
        needs: [fetch]
        config: { values: { region: '\${{ item }}' } }
  careful:
    type: try_catch
    title: Publish with care
    needs: [regions]
    components:
      publish:
        type: fail
        config: { message: no space left, class: user.disk }
    catch:
      remember:
        type: log
        config: { message: '\${{ error.message }}', level: warn }
    finally:
      tidy:
        type: noop
  done:
    type: end
    needs: [careful]
    config: { output: { regions: '\${{ components.regions.output | length }}' } }
`;

export const REPORT = `workflow: v1
name: morning-report
description: Makes the report, each quarter of an hour.
triggers:
  quarters:
    type: schedule
    config: { cron: '*/15 * * * *', timezone: Europe/Berlin, catchup: none }
components:
  make:
    type: noop
`;

export const THOUSAND = `workflow: v1
name: a-thousand
description: One row after the other, each by a worker.
components:
  go:
    type: approval
    config: { assignees: [owner], requester_may_decide: true, message: Begin? }
  each:
    type: for_loop
    needs: [go.approved]
    config: { to: 1000, max_parallel: 20 }
    components:
      one:
        type: map
        config: { rows: ['\${{ item }}'], expression: item * 2 }
`;

export const SHARE = `workflow: v1
name: share-the-bill
description: Shares a bill among guests; without any it fails.
parameters:
  guests: { type: integer, default: 4 }
components:
  bill:
    type: map
    title: Add up the bill
    config: { rows: [24], expression: item * 2 }
  share:
    type: log
    title: Share it
    needs: [bill]
    config: { message: 'Each pays \${{ components.bill.output.rows[0] / parameters.guests }}' }
  thanks:
    type: noop
    title: Say thanks
    needs: [share]
`;

/** An order that asks other services, at an address. */
export const order = (url) => `workflow: v1
name: price-an-order
description: Asks three services side by side, and again when one has no answer yet.
components:
  customer:
    type: http_request
    config: { url: '${url}/customer' }
  rates:
    type: http_request
    config: { url: '${url}/rates' }
    retry: { max_attempts: 3, initial: 300ms, jitter: false }
  stock:
    type: http_request
    config: { url: '${url}/stock' }
  price:
    type: map
    needs: [customer, rates]
    config: { rows: [1], expression: item * 2 }
  book:
    type: http_request
    needs: [price, stock]
    config: { url: '${url}/book' }
  confirm:
    type: log
    needs: [book]
    config: { message: Booked }
  bill:
    type: http_request
    needs: [book]
    config: { url: '${url}/bill' }
`;

const STAGES = ['Read', 'Check', 'Join', 'Enrich', 'Score', 'Round', 'Store', 'Report'];

/** A workflow of so many components: lanes side by side that meet now and then. The same each time. */
export function large(count) {
  const lines = ['workflow: v1', `name: large-${count}`, 'components:'];
  const lanes = 12;
  for (let at = 0; at < count; at += 1) {
    const before = at < lanes ? [] : [at - lanes];
    if (at >= lanes && at % 29 === 0) before.push(at - lanes + (at % lanes === 0 ? 1 : -1));
    lines.push(`  c${at}:`, '    type: set_variables', `    title: ${STAGES[Math.floor(at / lanes) % STAGES.length]} ${(at % lanes) + 1}`);
    if (before.length > 0) lines.push(`    needs: [${before.map((each) => `c${each}`).join(', ')}]`);
    lines.push(`    config: { values: { number: ${at} } }`);
  }
  return `${lines.join('\n')}\n`;
}
