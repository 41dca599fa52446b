/// What a key that does not exist was probably meant to be.
enum KeySuggestion {
    /// Our path for the names that PEFT, axolotl, LLaMA-Factory and mlx-lm users type, with a remark where
    /// the value changes too.
    static let foreign: [String: (path: String, remark: String?)] = [
        "r": ("adapter.rank", nil), "lora_r": ("adapter.rank", nil), "lora_rank": ("adapter.rank", nil),
        "rank": ("adapter.rank", nil),
        "lora_alpha": ("adapter.alpha", nil), "alpha": ("adapter.alpha", nil),
        "scale": ("adapter.alpha", "alpha = scale * rank"),
        "lora_dropout": ("adapter.dropout", nil), "dropout": ("adapter.dropout", nil),
        "use_rslora": ("adapter.rslora", nil), "peft_use_rslora": ("adapter.rslora", nil),
        "target_modules": ("adapter.targets", nil), "lora_target_modules": ("adapter.targets", nil),
        "lora_target": ("adapter.targets", "all is spelled all-linear"), "keys": ("adapter.targets", nil),
        "lora_target_linear": ("adapter.targets", "true is spelled all-linear"), "targets": ("adapter.targets", nil),
        "peft_type": ("adapter.method", nil), "finetuning_type": ("adapter.method", nil),
        "fine_tune_type": ("adapter.method", nil), "adapter_type": ("adapter.method", nil),
        "method": ("adapter.method", nil),
        "task_type": ("task", nil), "pipeline_tag": ("task", nil),
        "per_device_train_batch_size": ("train.batch_size", nil),
        "micro_batch_size": ("train.micro_batch", nil), "batch_size": ("train.batch_size", nil),
        "gradient_accumulation_steps": ("train.batch_tokens", "accumulation follows from the tokens of a step"),
        "grad_accumulation_steps": ("train.batch_tokens", "accumulation follows from the tokens of a step"),
        "num_train_epochs": ("train.epochs", nil), "num_epochs": ("train.epochs", nil), "epochs": ("train.epochs", nil),
        "iters": ("train.steps", nil), "max_steps": ("train.steps", nil), "steps": ("train.steps", nil),
        "learning_rate": ("train.learning_rate", nil), "lr": ("train.learning_rate", nil),
        "lr_scheduler_type": ("train.lr_schedule", nil), "lr_scheduler": ("train.lr_schedule", nil),
        "lr_schedule": ("train.lr_schedule", nil),
        "warmup_steps": ("train.warmup", nil), "warmup_ratio": ("train.warmup", "a share is written 3%"),
        "warmup": ("train.warmup", nil), "max_grad_norm": ("train.clip_norm", nil),
        "gradient_clipping": ("train.clip_norm", nil), "bf16": ("train.precision", nil),
        "fp16": ("train.precision", nil),
        "max_seq_length": ("data.max_length", nil), "max_seq_len": ("data.max_length", nil),
        "sequence_len": ("data.max_length", nil), "cutoff_len": ("data.max_length", nil),
        "block_size": ("data.max_length", nil), "max_length": ("data.max_length", nil),
        "sample_packing": ("data.packing", nil), "packing": ("data.packing", nil),
        "val_set_size": ("data.validation", "a share is written 5%"),
        "val_size": ("data.validation", "a share is written 5%"), "validation_split": ("data.validation", nil),
        "early_stopping_patience": ("train.early_stopping", "{patience: 3}"),
        "mask_prompt": ("data.train_on", "prompts of completion records are never trained"),
        "train_on_inputs": ("data.train_on", "prompts of completion records are never trained"),
        "train_on_prompt": ("data.train_on", "prompts of completion records are never trained"),
        "gradient_checkpointing": ("train.gradient_checkpointing", nil),
        "grad_checkpoint": ("train.gradient_checkpointing", nil),
        "resume_from_checkpoint": ("train.init", "a retry goes on from its checkpoint by itself"),
        "resume_adapter_file": ("train.init", "a retry goes on from its checkpoint by itself"),
        "seed": ("train.seed", nil), "weight_decay": ("train.weight_decay", nil),
        "base_model": ("base", nil), "model": ("base", nil), "model_name_or_path": ("base", nil),
        "model_name": ("base", nil), "base_model_name_or_path": ("base", nil),
        "dataset": ("data.train", nil), "datasets": ("data.train", nil), "train_file": ("data.train", nil),
        "output_dir": ("name", "versions go to the store under this name"),
        "adapter_path": ("name", "versions go to the store under this name"),
    ]

    /// The hint for `key`, written in the section `section` (empty for the top level); `nil` when nothing is near.
    static func hint(for key: String, in section: String) -> String? {
        if section.isEmpty, key == "schedule" { return "a file with a schedule belongs in Jobs/schedules" }
        let siblings = ManifestSchema.children(of: section)
        // A slip in a sibling's name is likelier than another tool's word, unless that word fits exactly.
        if let known = foreign[key], section.isEmpty || known.path != section + "." + key {
            return "did you mean \(known.path)?" + (known.remark.map { " (\($0))" } ?? "")
        }
        if let near = nearest(key, among: siblings) { return "did you mean \(near)?" }
        let elsewhere = ManifestSchema.fields.filter { $0.key == key }
        if elsewhere.count == 1 { return "did you mean \(elsewhere[0].path)?" }
        let leaves = Dictionary(
            ManifestSchema.fields.map { ($0.key, $0.path) }, uniquingKeysWith: { first, _ in first })
        if key.count >= 4, let near = nearest(key, among: leaves.keys.sorted()), let path = leaves[near] {
            return "did you mean \(path)?"
        }
        return nil
    }

    /// The word nearest to `key`, when it is near enough to be a slip.
    static func nearest(_ key: String, among words: [String]) -> String? {
        let allowed = max(1, min(3, key.count / 3))
        let ranked = words.filter { abs($0.count - key.count) <= allowed }
            .map { (word: $0, distance: distance(key.lowercased(), $0.lowercased())) }
            .filter { $0.distance <= allowed && $0.distance < $0.word.count }
        return ranked.min { ($0.distance, $0.word) < ($1.distance, $1.word) }?.word
    }

    /// The fewest insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`
    /// (optimal string alignment).
    static func distance(_ a: String, _ b: String) -> Int {
        let a = Array(a.prefix(64)), b = Array(b.prefix(64))
        var before: [Int] = []
        var previous = Array(0...b.count)
        for i in 0..<a.count {
            var current = [i + 1]
            for j in 0..<b.count {
                var best = min(previous[j + 1] + 1, current[j] + 1, previous[j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { best = min(best, before[j - 1] + 1) }
                current.append(best)
            }
            before = previous
            previous = current
        }
        return previous[b.count]
    }
}

extension ManifestSchema {
    /// The keys directly below a section; of the top level for an empty path.
    static func children(of section: String) -> [String] {
        var seen: [String] = []
        for field in fields {
            let path =
                section.isEmpty
                ? field.path[...]
                : field.path.hasPrefix(section + ".")
                    ? field.path.dropFirst(section.count + 1) : ""
            guard let word = path.split(separator: ".").first.map(String.init) else { continue }
            if !seen.contains(word) { seen.append(word) }
        }
        return seen
    }
}
