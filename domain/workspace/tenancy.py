"""Use cases of a workspace: its people, its bots, their deploys and what they store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from domain.account.credit_account import CreditAccount
from domain.account.spending import Spending, rolled
from domain.catalogue.catalogue import PlanCatalogue
from domain.commands import Command, Done, Stream
from domain.contract.contracting import known
from domain.errors import ConcurrencyConflict, NotFound
from domain.facts import Context
from domain.places import PLANS, account_stream
from domain.reading import Reading
from domain.workspace.bots import create_bot, pause_bot, remove_bot, resume_bot
from domain.workspace.deploys import Verdict, cause_of, is_new, judge, note
from domain.workspace.errors import DeployConflict
from domain.workspace.facts import DeployAuthorised, DeployDenied, DeployKind
from domain.workspace.seats import add_member, remove_member
from domain.workspace.storage import report_storage
from domain.workspace.workspace import Workspace, workspace_stream

ATTEMPTS = 10
"""Looks at one deploy, where everything moves at once, before the caller is asked to try again."""


def workspace_place(workspace_id: str) -> Stream:
    """Where a workspace's own facts are kept."""
    return Stream(Workspace, workspace_stream(workspace_id))


class Tenancy(Spending, Reading):
    """What people and services ask of a workspace. Limits are those of the cycle that runs now,
    whether or not anything else noticed that it began."""

    async def workspace(self, workspace_id: str) -> Workspace:
        """The workspace as committed now.

        :raises NotFound: there is none of this id.
        """
        workspace = await self.book.fresh(workspace_place(workspace_id))
        assert isinstance(workspace, Workspace)
        if not workspace.version:
            raise NotFound("workspace", workspace_id)
        return workspace

    # People.

    async def add_member(self, workspace_id: str, member_id: str, context: Context) -> Done:
        """Give a person a seat; answers whether they had none."""
        return await self._in_workspace(
            workspace_id, context, lambda w, _: add_member(w, member_id, context)
        )

    async def remove_member(self, workspace_id: str, member_id: str, context: Context) -> Done:
        """Free a person's seat."""
        return await self._in_workspace(
            workspace_id, context, lambda w, _: remove_member(w, member_id, context)
        )

    # Bots.

    async def create_bot(self, workspace_id: str, bot_id: str, name: str, context: Context) -> Done:
        """Add an active bot; answers whether it is new."""
        return await self._in_workspace(
            workspace_id, context, lambda w, _: create_bot(w, bot_id, name, context)
        )

    async def pause_bot(self, workspace_id: str, bot_id: str, context: Context) -> Done:
        """Pause a bot until the user resumes it."""
        return await self._in_workspace(
            workspace_id, context, lambda w, _: pause_bot(w, bot_id, context)
        )

    async def resume_bot(self, workspace_id: str, bot_id: str, context: Context) -> Done:
        """Let a bot run again, if the plan has room for it."""
        return await self._in_workspace(
            workspace_id, context, lambda w, _: resume_bot(w, bot_id, context)
        )

    async def remove_bot(self, workspace_id: str, bot_id: str, context: Context) -> Done:
        """Take a bot away; the catalogue says whether one that the plan paused takes its slot."""
        return await self._in_workspace(
            workspace_id,
            context,
            lambda w, plans: remove_bot(w, bot_id, plans.current.auto_resume_on_free_slot, context),
        )

    # Deploys.

    async def authorize_deploy(
        self,
        workspace_id: str,
        deploy_id: str,
        bot_id: str,
        portal: str,
        context: Context,
        kind: DeployKind = "deploy",
    ) -> tuple[Verdict, int]:
        """Judge a deploy as things stand now, record the verdict (once for each ``deploy_id``
        and verdict), and answer it with the position reached. A denial is an answer here.

        :raises DeployConflict: the ``deploy_id`` is another bot's.
        """
        new = is_new(kind, (await self.plans()).current)

        def look(workspace: Workspace, account: CreditAccount) -> Verdict:
            return judge(workspace, account, bot_id, portal, context, new=new)

        for _ in range(ATTEMPTS):
            workspace = await self.workspace(workspace_id)
            account = await self.account(workspace_id)
            expected = look(workspace, account)

            def decide(
                workspace: Workspace, account: CreditAccount, expected: Verdict = expected
            ) -> None:
                known(account, workspace_id)
                rolled(account, context)
                if look(workspace, account).denial != expected.denial:
                    raise VerdictChanged
                note(workspace, deploy_id, bot_id, kind, expected, context)

            command = Command(
                (workspace_place(workspace_id),),
                decide,
                cause_of(deploy_id, expected),
                (account_stream(workspace_id),),
            )
            try:
                done = await self.in_cycle(workspace_id, context, command)
            except VerdictChanged:
                continue
            first = next(iter(done.facts)).fact
            assert isinstance(first, DeployAuthorised | DeployDenied)
            if first.bot_id != bot_id:
                raise DeployConflict(f"{deploy_id} was asked for the bot {first.bot_id}")
            return expected, done.position
        raise ConcurrencyConflict()

    async def notice_grace(self, workspace_id: str, context: Context) -> Done:
        """Record that the grace is over, if it is; answers whether that was news. Deploys do not
        wait for it."""

        def decide(workspace: Workspace) -> bool:
            return workspace.notice_grace(context)

        return await self.book.submit(Command((workspace_place(workspace_id),), decide))

    async def tidy(self, workspace_id: str, context: Context) -> Done:
        """Record what time did to the account by itself: grants and holds that expired, windows
        of days that began. No decision waits for it."""

        def decide(account: CreditAccount, plans: PlanCatalogue) -> None:
            if account.policy is not None:
                account.tidy(account.policy, plans.current, context)
                account.consider_topup(context)  # what expired may leave the balance low

        command = Command((account_stream(workspace_id),), decide, None, (PLANS,))
        return await self.book.submit(command)

    # Storage.

    async def report_storage(self, workspace_id: str, used_bytes: int, context: Context) -> Done:
        """Note how much is stored; answers the gauge against the plan's limit."""
        return await self._in_workspace(
            workspace_id, context, lambda w, _: report_storage(w, used_bytes, context)
        )

    async def _in_workspace(
        self,
        workspace_id: str,
        context: Context,
        change: Callable[[Workspace, PlanCatalogue], Any],
    ) -> Done:
        def decide(workspace: Workspace, account: CreditAccount, plans: PlanCatalogue) -> Any:
            known(account, workspace_id)
            rolled(account, context)
            return change(workspace, plans)

        reads = (account_stream(workspace_id), PLANS)
        command = Command((workspace_place(workspace_id),), decide, None, reads)
        return await self.in_cycle(workspace_id, context, command)


class VerdictChanged(Exception):
    """Something moved between the look at a deploy and its decision: look again."""
