/// The pipelines that a new workspace starts with: the files of the repository's own `Pipelines` folder.
package enum ExamplePipelines {
    /// Name and text, in the order they are laid down.
    package static let all: [(name: String, text: String)] = [("finetune", finetune), ("pretrain", pretrain)]

    private static let finetune = """
        # Train an adapter, judge it on held-out data, and make it a new version.
        version: 1
        name: finetune
        stages:
          tokenize: {uses: tokenize}
          train:    {uses: train, needs: [tokenize]}
          evaluate: {uses: evaluate, needs: [train]}
          merge:    {uses: merge, needs: [train], when: job.merge}
          package:  {uses: package, needs: [evaluate, merge]}

        """

    private static let pretrain = """
        # Train every weight of a base from scratch or further, and make it a checkpoint in Artifacts/models.
        version: 1
        name: pretrain
        stages:
          tokenize: {uses: tokenize}
          train:    {uses: train, needs: [tokenize]}
          evaluate: {uses: evaluate, needs: [train]}
          package:  {uses: package, needs: [evaluate]}

        """
}
